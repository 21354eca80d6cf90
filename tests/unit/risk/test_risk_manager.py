"""The manager: exact buying power, fail closed, reductions, legs, latches, counts."""

import math

import pytest

from mqd.core.order import OrderClass, OrderType, Side
from mqd.core.verdict import Approved
from mqd.risk import KillSwitch, LatchLevel, Limits, RefusalCode, RiskManager, rule
from mqd.risk.rules import RULES

USD = 10**8
C = RefusalCode


def research(*rules, multiplier=1.0, **more):
    return RiskManager(Limits.research(multiplier), rules=rules, **more)


def full(**values):
    wide = {"sector_unknown_frac_max": 1.0, "concentration_frac_max": 1.0,
            "position_frac_max": 1.0, "notional_frac_max": 1.0}  # fmt: skip
    account = Limits.default().account._replace(**{**wide, **values})
    manager = RiskManager(Limits(account=account))
    manager.session(1, 10_000 * USD)
    manager.mark(0, 10_000 * USD)
    return manager


def codes(verdict):
    return () if isinstance(verdict, Approved) else verdict.codes


def test_buying_power_passes_at_equality_and_refuses_one_share_more(make_order, make_snapshot):
    manager = research()
    assert codes(manager.check(make_order(100), (), make_snapshot())) == ()
    assert codes(manager.check(make_order(101), (), make_snapshot())) == (C.BUYING_POWER,)
    assert codes(manager.check(make_order(60), (), make_snapshot(40))) == ()
    assert codes(manager.check(make_order(61), (), make_snapshot(40))) == (C.BUYING_POWER,)


def test_buying_power_is_exact_where_floats_are_not(make_order, make_snapshot):
    snapshot = make_snapshot(equity_quanta=2**60 + 1, gross_quanta=0, ref_ticks=1)
    quanta_a_lot = snapshot.scale.tick_lot_quanta
    lots = (2**60 + 1) // quanta_a_lot
    rest = snapshot._replace(equity_quanta=lots * quanta_a_lot)
    assert codes(research().check(make_order(lots), (), rest)) == ()
    short = rest._replace(equity_quanta=lots * quanta_a_lot - 1)
    assert codes(research().check(make_order(lots), (), short)) == (C.BUYING_POWER,)


def test_a_decimal_multiplier_means_its_decimal(make_order, make_snapshot):
    manager = research(multiplier=1.1)
    snapshot = make_snapshot(multiplier=1.1)
    assert codes(manager.check(make_order(110), (), snapshot)) == ()
    assert codes(manager.check(make_order(111), (), snapshot)) == (C.BUYING_POWER,)
    tighter = make_snapshot(multiplier=1.0)
    assert codes(manager.check(make_order(101), (), tighter)) == (C.BUYING_POWER,)


def test_two_orders_fit_alone_and_not_together(make_order, make_snapshot):
    order = make_order(60)
    assert codes(research().check(order, (), make_snapshot())) == ()
    assert codes(research().check(order, (), make_snapshot(buys=60))) == (C.BUYING_POWER,)


def test_a_flip_is_charged_for_what_it_opens(make_order, make_snapshot):
    sell = Side.SELL
    assert codes(research().check(make_order(200, sell), (), make_snapshot(100))) == ()
    assert codes(research().check(make_order(201, sell), (), make_snapshot(100))) == (
        C.BUYING_POWER,
    )


@pytest.mark.parametrize(
    "missing",
    ["equity_quanta", "gross_quanta", "open_gross_quanta", "ref_ticks", "lots", "open_buy_lots",
     "multiplier"],
)  # fmt: skip
def test_a_missing_number_refuses_an_increase(make_order, make_snapshot, missing):
    snapshot = make_snapshot(**{missing: None})
    assert codes(research().check(make_order(), (), snapshot)) == (C.MISSING_INPUT,)


def test_nan_equity_refuses_in_every_rule_that_reads_it(make_order, make_snapshot):
    @rule(limit="gross_frac_max", observes=lambda order, portfolio: portfolio.cash)
    def needs_cash(order, portfolio, limits):
        return portfolio.cash >= 0.0

    verdict = research(needs_cash).check(make_order(), (), make_snapshot(cash_quanta=None))
    assert codes(verdict) == (C.USER_RULE,)
    assert verdict.refusals[0].observed == "nan"


@pytest.mark.parametrize("answer", [1, None, "yes", 1.0, math.nan])
def test_an_answer_that_is_no_bool_refuses(make_order, make_snapshot, answer):
    verdict = research(lambda order, portfolio, limits: answer).check(
        make_order(), (), make_snapshot()
    )
    assert codes(verdict) == (C.RULE_FAILED,)


def test_an_exception_refuses_even_a_reduction(make_order, make_snapshot):
    @rule(reducing_passes=True)
    def divides(order, portfolio, limits):
        return order.qty / (order.qty - order.qty) > 0

    verdict = research(divides).check(make_order(1, Side.SELL), (), make_snapshot(5))
    assert codes(verdict) == (C.RULE_FAILED,)
    assert "ZeroDivisionError" in str(verdict)


def test_all_rules_run_and_all_reasons_are_named_by_precedence(make_order, make_snapshot):
    manager = full(qty_max=5.0, notional_usd_max=100.0, gross_frac_max=0.01)
    verdict = manager.check(make_order(50), (), make_snapshot(multiplier=1.0))
    assert codes(verdict) == (C.ORDER_QTY, C.ORDER_NOTIONAL, C.GROSS_EXPOSURE)
    assert str(verdict.refusals[0]) == "order_qty: 50 against qty_max 5"


def test_an_undeclared_rule_prints_all_inputs(make_order, make_snapshot):
    verdict = research(lambda order, portfolio, limits: False).check(
        make_order(3), (), make_snapshot()
    )
    assert "qty=3.0" in verdict.refusals[0].observed
    assert "equity=10000.0" in verdict.refusals[0].observed


def test_the_order_of_rules_changes_nothing(make_order, make_snapshot):
    order, snapshot = make_order(500), make_snapshot()
    one = research(*RULES).check(order, (), snapshot)
    other = research(*reversed(RULES)).check(order, (), snapshot)
    assert one.refusals == other.refusals
    assert len(one.refusals) > 3


def test_reducing_is_computed_and_never_believed(make_order, make_snapshot):
    manager = full()
    manager.kill_switch.trip("drawdown", 1, LatchLevel.HALT)
    liar = make_order(6, Side.SELL, reducing=True)
    assert codes(manager.check(liar, (), make_snapshot(5))) == (C.HALTED,)
    assert codes(manager.check(liar, (), make_snapshot(10, sells=5))) == (C.HALTED,)
    honest = make_order(5, Side.SELL, reducing=False)
    assert codes(manager.check(honest, (), make_snapshot(10, sells=5))) == ()


def test_a_reduction_passes_what_binds_increases_only(make_order, make_snapshot):
    manager = full(qty_max=1.0, notional_usd_max=1.0, turnover_frac_max=0.0, gross_frac_max=0.0)
    snapshot = make_snapshot(50, ref_ns=None, average_volume_lots=-1, recent_ticks=())
    assert codes(manager.check(make_order(50, Side.SELL), (), snapshot)) == ()
    assert len(codes(manager.check(make_order(51, Side.SELL), (), snapshot))) > 5


def test_nothing_passes_the_kill_switch(make_order, make_snapshot):
    manager = research()
    manager.kill_switch.trip("operator", 1)
    verdict = manager.check(make_order(1, Side.SELL), (), make_snapshot(5))
    assert codes(verdict) == (C.KILL_SWITCH,)


def test_a_refusal_names_every_limit_that_its_rule_compares_with(make_order, make_snapshot):
    manager = full(notional_usd_max=1e9, notional_frac_max=0.0001)
    told = str(manager.check(make_order(), (), make_snapshot()))
    assert "against notional_usd_max 1000000000, notional_frac_max 0.0001" in told


def test_daily_loss_and_drawdown_latch_at_equality(make_order, make_snapshot):
    manager = full()
    manager.mark(1, 9_800 * USD + 1)
    assert manager.kill_switch.level is LatchLevel.CLEAR
    manager.mark(2, 9_800 * USD)
    assert manager.kill_switch.level is LatchLevel.REDUCE_ONLY
    verdict = manager.check(make_order(), (), make_snapshot())
    assert C.REDUCE_ONLY in codes(verdict)
    assert "equity is 200 bp below the session's start" in str(verdict)
    manager.mark(3, 12_000 * USD)
    manager.session(2, 12_000 * USD)
    assert manager.kill_switch.level is LatchLevel.REDUCE_ONLY
    manager.mark(4, 10_800 * USD)
    assert manager.kill_switch.level is LatchLevel.HALT
    assert manager.kill_switch.reasons[LatchLevel.HALT] == "equity is 1000 bp below its high"


def test_deposits_are_no_profit_and_withdrawals_no_loss():
    manager = full()
    manager.flow(-5_000 * USD)
    manager.mark(1, 5_000 * USD)
    assert manager.kill_switch.level is LatchLevel.CLEAR
    manager.mark(2, 4_900 * USD)
    assert manager.kill_switch.level is LatchLevel.REDUCE_ONLY


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"lots": 0}, "0 lots"),
        ({"lots": -5}, "-5 lots"),
        ({"lots": 1.5}, "1.5 lots"),
        ({"lots": math.nan}, "nan lots"),
        ({"side": 3}, "side 3"),
        ({"type": "iceberg"}, "iceberg"),
        ({"time_in_force": "forever"}, "forever"),
        ({"type": OrderType.LIMIT}, "limit price of 0"),
        ({"limit_ticks": 5}, "limit price of 5 ticks on a market order"),
        ({"type": OrderType.STOP}, "stop price of 0"),
        ({"type": OrderType.STOP, "stop_ticks": -5}, "stop price of -5"),
        ({"type": OrderType.TRAILING_STOP}, "trail of 0"),
        ({"trail_ticks": 4}, "trail of 4"),
    ],
)
def test_a_malformed_order_is_refused(make_order, make_snapshot, terms, words):
    verdict = research().check(make_order()._replace(**terms), (), make_snapshot())
    assert set(codes(verdict)) <= {C.MALFORMED, C.MISSING_INPUT}
    assert codes(verdict)
    assert words in str(verdict.refusals) or "lots" in terms or "side" in terms


def test_legs_must_reduce_what_the_entry_opens(make_order, make_snapshot):
    entry = make_order(10, order_class=OrderClass.BRACKET)
    stop = make_order(10, Side.SELL, OrderType.STOP, stop_ticks=9_500, id="leg")
    manager = research()
    assert codes(manager.check(entry, (stop,), make_snapshot())) == ()
    too_large = stop._replace(lots=11)
    assert codes(manager.check(entry, (too_large,), make_snapshot())) == (C.MALFORMED,)
    wrong_side = stop._replace(side=Side.BUY)
    assert C.MALFORMED in codes(manager.check(entry, (wrong_side,), make_snapshot()))


def test_orders_come_at_the_bucket_rate_and_a_clock_that_goes_back_gives_none(
    make_order, make_snapshot
):
    manager = full(open_orders_symbol_max=100.0)
    snapshot = make_snapshot()

    def tries(now_ns):
        passed = 0
        for n in range(15):
            order = make_order(1, id=f"{now_ns}-{n}", strategy=f"{now_ns}-{n}")
            if not codes(manager.check(order, (), snapshot._replace(now_ns=now_ns, ref_ns=now_ns))):
                manager.sent(order, now_ns)
                passed += 1
        return passed

    start = snapshot.now_ns
    assert tries(start) == 10
    assert tries(start - 3600 * 10**9) == 0
    assert tries(start + 10**9) == 5
    assert tries(start + 2 * 10**9) == 5


def test_a_check_changes_nothing(make_order, make_snapshot):
    manager, order, snapshot = full(), make_order(), make_snapshot()
    first = codes(manager.check(order, (), snapshot))
    far = snapshot._replace(now_ns=snapshot.now_ns + 10**15)
    manager.check(order, (), far)
    assert codes(manager.check(order, (), snapshot)) == first == ()
    manager.sent(order, snapshot.now_ns)
    assert C.DUPLICATE in codes(manager.check(order, (), snapshot))


def test_more_filled_than_ordered_trips_the_strategy(make_order, make_snapshot):
    manager = full()
    manager.filled("AAA", Side.BUY, 10, 10, 1_000 * USD, 1, strategy="s")
    assert codes(manager.check(make_order(), (), make_snapshot())) == ()
    manager.filled("AAA", Side.BUY, 11, 10, 1_000 * USD, 2, strategy="s")
    assert codes(manager.check(make_order(), (), make_snapshot())) == (C.STRATEGY_TRIPPED,)
    assert codes(manager.check(make_order(1, Side.SELL), (), make_snapshot(5))) == ()
    manager.rearm("s")
    assert codes(manager.check(make_order(), (), make_snapshot())) == ()


def test_limits_may_only_tighten_while_running(make_order, make_snapshot):
    manager = full()
    tighter = manager.limits.account._replace(qty_max=5.0)
    manager.tighten(Limits(account=tighter))
    assert codes(manager.check(make_order(6), (), make_snapshot())) == (C.ORDER_QTY,)
    with pytest.raises(Exception, match="qty_max"):
        manager.tighten(Limits(account=tighter._replace(qty_max=6.0)))


def test_a_durable_switch_binds_a_new_manager(tmp_path, make_order, make_snapshot):
    KillSwitch(tmp_path).trip("operator", 1)
    manager = research(kill_switch=KillSwitch(tmp_path))
    assert codes(manager.check(make_order(), (), make_snapshot())) == (C.KILL_SWITCH,)


def test_a_clock_that_goes_back_empties_no_window(make_order, make_snapshot):
    manager = full(orders_min_max=3.0, open_orders_symbol_max=100.0)
    start = make_snapshot().now_ns
    for n, now_ns in enumerate((start, start, start - 3600 * 10**9)):
        manager.sent(make_order(n + 1), now_ns)
    assert codes(manager.check(make_order(9), (), make_snapshot())) == (C.ORDERS_PER_MINUTE,)
    later = make_snapshot(now_ns=start + 60 * 10**9)
    assert codes(manager.check(make_order(9), (), later)) == ()
