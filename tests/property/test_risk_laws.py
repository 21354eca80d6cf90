"""Stateful laws of the manager (P8, P11, P12, P16), and of the strategies that users draw from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mqd.core.order import OrderType, Side
from mqd.core.verdict import Approved
from mqd.risk import Limits, RiskManager
from mqd.risk.views import Snapshot, is_reducing, order_view, portfolio_view, worst_lots
from mqd.testing import bars, limits, orders, portfolios, reports
from mqd.testing.scene import DAY, EQUITY_USD, REF_TICKS, SCALE, START_NS, USD, Scene
from mqd.testing.strategies import SCALE as ORDER_SCALE

PX_QUANTA = REF_TICKS * SCALE.tick_lot_quanta
LOTS_MAX = EQUITY_USD * USD // PX_QUANTA


class BuyingPower(RuleBasedStateMachine):
    """At no instant can fills of approved orders take gross above equity x multiplier."""

    def __init__(self):
        super().__init__()
        self.desk = Scene((), Limits.default().account)
        self.manager = RiskManager(Limits.research())

    @rule(side=st.sampled_from((1, -1)), lots=st.integers(1, 150))
    def ask(self, side, lots):
        order = self.desk.order(side, lots)
        snapshot = self.desk.snapshot()._replace(multiplier=1.0)
        if isinstance(self.manager.check(order, (), snapshot), Approved):
            self.desk.open.append(order)

    @rule(pick=st.integers(0, 5), lots=st.integers(1, 150))
    def fill(self, pick, lots):
        self.desk.fill(pick, lots)

    @rule(pick=st.integers(0, 5))
    def cancel(self, pick):
        self.desk.cancel(pick)

    @invariant()
    def worst_case_stays_inside(self):
        desk = self.desk
        assert worst_lots(desk.lots, desk.open_lots(1), desk.open_lots(-1)) <= LOTS_MAX

    @invariant()
    def reservations_are_the_open_exposure(self):
        snapshot = self.desk.snapshot()
        assert snapshot.open_gross_quanta >= 0
        if not self.desk.open:
            assert snapshot.open_gross_quanta == 0


class Reductions(RuleBasedStateMachine):
    """Orders that count as reducing never flip a position, in whatever order they fill."""

    def __init__(self):
        super().__init__()
        self.desk = Scene((), Limits.default().account, lots=40)

    @rule(lots=st.integers(1, 60))
    def ask(self, lots):
        order = self.desk.order(-1, lots)
        if is_reducing(order.side, lots, self.desk.snapshot()):
            self.desk.open.append(order)

    @rule(pick=st.integers(0, 5), lots=st.integers(1, 60))
    def fill(self, pick, lots):
        self.desk.fill(pick, lots)

    @rule(pick=st.integers(0, 5))
    def cancel(self, pick):
        self.desk.cancel(pick)

    @invariant()
    def never_flips(self):
        assert self.desk.lots >= 0


for machine in (BuyingPower, Reductions):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestBuyingPower = BuyingPower.TestCase
TestReductions = Reductions.TestCase


@settings(max_examples=60, deadline=None)
@given(orders(), st.integers(1, 10**6))
def test_views_are_the_decimal_texts_of_the_integers(order, ref_ticks):
    view = order_view(order, ref_ticks)
    assert view.qty == float(order.qty)
    priced = order.limit_ticks or order.stop_ticks or ref_ticks
    assert view.px == float(ORDER_SCALE.px(priced))
    assert view.notional == float(ORDER_SCALE.px(priced) * order.qty)


NOT_READ_BY_A_BUY = {"session", "sector_gross_quanta", "open_buy_ticks_max", "cash_quanta"}


@pytest.mark.parametrize("field", Snapshot._fields)
def test_a_missing_number_never_raises_and_never_looks_known(field):
    scene = Scene((), Limits.default().account)
    scene.manager.session(DAY, EQUITY_USD * USD)
    full = RiskManager(Limits.default())
    full.session(DAY, EQUITY_USD * USD)
    full.mark(START_NS, EQUITY_USD * USD)
    order = scene.order(1, 1)
    snapshot = scene.snapshot()._replace(multiplier=1.0, recent_ticks=(REF_TICKS,) * 5)
    assert isinstance(full.check(order, (), snapshot), Approved)
    verdict = full.check(order, (), snapshot._replace(**{field: None}))
    assert isinstance(verdict, Approved) is (field in NOT_READ_BY_A_BUY)


@settings(max_examples=40, deadline=None)
@given(bars())
def test_drawn_bars_keep_the_rules_of_bars(drawn):
    assert (drawn.low <= np.minimum(drawn.open, drawn.close)).all()
    assert (drawn.high >= np.maximum(drawn.open, drawn.close)).all()
    assert (drawn.low > 0).all()
    assert (np.diff(drawn.ts_close) > 0).all()
    assert (drawn.ticks("close") / 100 == drawn.close).all()


@settings(max_examples=60, deadline=None)
@given(orders().flatmap(lambda order: st.tuples(st.just(order), reports(order))))
def test_drawn_reports_are_a_legal_life_of_the_order(drawn):
    order, told = drawn
    fills = [report for report in told if report.execution_id]
    assert sum(fill.last_lots for fill in fills) <= order.lots
    assert len({fill.execution_id for fill in fills}) == len(fills)
    assert all(report.client_order_id == order.client_order_id for report in told)
    assert order.side in Side
    assert (order.limit_ticks > 0) == (order.type in (OrderType.LIMIT, OrderType.STOP_LIMIT))


@settings(max_examples=60, deadline=None)
@given(portfolios(), limits())
def test_drawn_portfolios_agree_with_themselves(portfolio, drawn):
    assert portfolio.gross_held >= abs(portfolio.qty) * portfolio.ref_px - 1e-6
    assert portfolio.gross >= portfolio.gross_held - 1e-6
    assert all(value >= 0 for value in drawn)


def test_the_view_counts_open_orders_at_their_worst():
    scene = Scene((), Limits.default().account, lots=10)
    scene.open = [scene.order(1, 5), scene.order(-1, 3)]
    buy = portfolio_view(scene.snapshot(), Side.BUY)
    sell = portfolio_view(scene.snapshot(), Side.SELL)
    assert (buy.qty, buy.open_qty, buy.open_opposite_qty) == (10.0, 5.0, 3.0)
    assert (buy.gross, buy.gross_held) == (1_500.0, 1_000.0)
    assert (buy.net, sell.net, buy.net_held) == (1_500.0, 700.0, 1_000.0)
