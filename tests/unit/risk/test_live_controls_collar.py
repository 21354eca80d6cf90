"""Control 2: with a collar in the limits file every market order leaves as a limit order."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mqd
from mqd.core.money import Scale
from mqd.core.order import Order, OrderRequest, OrderType, Side, TimeInForce
from mqd.errors import BadLimits, NotCompilable, UsageError
from mqd.execution.capabilities import sub_penny
from mqd.execution.engine import collared
from mqd.risk import Limits, LimitValues
from mqd.strategy.library.sma_cross import SmaCross
from tests.unit.desk.desk_cases import two_waves

FINE = Scale.of(Decimal("0.0001"), Decimal(1), Decimal("1e-8"))
WIDE = LimitValues()._replace(
    notional_usd_max=1e6, notional_frac_max=4.0, position_frac_max=4.0, concentration_frac_max=4.0,
    sector_unknown_frac_max=4.0, drawdown_frac_max=0.9, daily_loss_frac_max=0.5,
    volume_frac_max=1.0, qty_unknown_volume_max=1e6,
)  # fmt: skip


def read(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return Limits.from_toml(str(path))


def test_the_limits_file_sets_it(tmp_path):
    limits = read(tmp_path, "[account]\nmarket_collar_frac = 0.005\nqty_max = 5\n")
    assert limits.market_collar_frac == 0.005
    assert limits.market_collar_units == 500_000
    assert limits.account == LimitValues()._replace(qty_max=5.0)
    assert "market_collar_frac = 0.005" in str(limits)
    assert read(tmp_path, "[account]\nmarket_collar_frac = 0\n").market_collar_units == 0


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0.5", "0.005 is 5 parts in 1,000"),
        ("-0.1", "0.005 is 5 parts in 1,000"),
        ("nan", "0.005 is 5 parts in 1,000"),
        ('"wide"', "plain number"),
        ("true", "plain number"),
        ("0.0000000001", "at most 8 decimals"),
    ],
)
def test_a_slip_is_refused_with_its_line(tmp_path, value, why):
    with pytest.raises(BadLimits, match=why) as caught:
        read(tmp_path, f"[account]\nqty_max = 5\nmarket_collar_frac = {value}\n")
    assert caught.value.line == 3


def test_it_is_the_accounts_alone(tmp_path):
    with pytest.raises(BadLimits, match="unknown limit"):
        read(tmp_path, "[strategy.s]\nmarket_collar_frac = 0.005\n")


def test_limits_without_a_collar_keep_their_hash():
    assert "market_collar_frac" not in Limits().to_dict()
    assert Limits(market_collar_frac=0.01).sha256 != Limits().sha256


def test_at_run_time_it_may_only_narrow():
    collar = Limits(market_collar_frac=0.01)
    assert Limits().tightened(collar) is collar
    assert collar.tightened(Limits(market_collar_frac=0.005)).market_collar_units == 500_000
    for looser in (Limits(), Limits(market_collar_frac=0.011)):
        with pytest.raises(UsageError, match="market_collar_frac"):
            collar.tightened(looser)


def market(side):
    return Order("o", "s", "AAA", side, 1, OrderType.MARKET, TimeInForce.DAY, 1, FINE)


@pytest.mark.parametrize(
    ("side", "ref", "limit"),
    [
        (Side.BUY, 1_000_050, 1_005_000),  # 100.005 + 0.5 % = 100.505025, whole cents: 100.50
        (Side.SELL, 1_000_050, 995_100),  # 99.504975: 99.51
        (Side.BUY, 5_001, 5_026),  # 0.5001 + 0.5 % = 0.50260, steps of 0.0001
        (Side.SELL, 10_020, 9_970),  # 1.0020 - 0.5 % = 0.99699: below 1 USD, so 0.9970
    ],
)
def test_by_hand_an_equitys_limit_is_on_its_step(side, ref, limit):
    assert collared(market(side), ref, 500_000, equity=True).limit_ticks == limit


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Side), st.integers(1, 10**8), st.integers(0, 20_000_000))
def test_the_limit_is_inside_the_collar_and_no_sub_penny(side, ref, units):
    made = collared(market(side), ref, units, equity=True)
    assert sub_penny(made) == ""
    assert side * made.limit_ticks <= side * ref * (1 + side * Fraction(units, 10**8))
    if made.limit_ticks:
        edge = collared(market(side), ref, units).limit_ticks
        assert abs(edge - made.limit_ticks) < 100


def replayed(limits, **options):
    strategy = options.pop("strategy", None) or SmaCross(fast=3, slow=8)
    return mqd.backtest(strategy, two_waves(), cash=100_000, limits=limits, **options)


def test_in_a_replay_each_market_order_leaves_as_a_limit():
    plain = replayed(Limits(account=WIDE), engine="event").orders
    result = replayed(Limits(account=WIDE, market_collar_frac=0.01), engine="event")
    orders = result.orders
    assert set(plain["type"]) == {"market"}
    assert set(orders["type"]) == {"limit"}
    assert len(result.fills) > 10
    bars = two_waves()
    for order in orders.itertuples():
        frame = bars[order.symbol]
        closes = dict(zip(frame.ts_close.tolist(), frame.close.tolist(), strict=True))
        mark = closes[max(ts for ts in closes if ts <= order.decided.value)]
        sign = 1 if order.side == "buy" else -1
        assert 0 <= sign * (mark * (1 + sign * 0.01) - order.limit_px) < 0.01 + 1e-9


class BuysAtTheStart(mqd.Strategy):
    """Asks for an order before any price is known."""

    def on_start(self, desk):
        request = OrderRequest(symbol="AAA", side=Side.BUY, qty=Decimal(1))
        desk.broker.submit(request)


def test_without_a_price_it_is_not_sent():
    limits = Limits(account=WIDE, market_collar_frac=0.01)
    orders = replayed(limits, strategy=BuysAtTheStart()).orders
    assert orders["status"].tolist() == ["denied"]
    assert orders["type"].tolist() == ["market"]


def test_the_compiled_engine_leaves_it_to_the_desk():
    limits = Limits(account=WIDE, market_collar_frac=0.01)
    with pytest.raises(NotCompilable, match="market_collar_frac"):
        replayed(limits, engine="compiled")


def test_auto_falls_back_to_the_desk(monkeypatch):
    monkeypatch.setattr("mqd.backtesting.COMPILED_BARS", 1)
    limits = Limits(account=WIDE, market_collar_frac=0.01)
    assert set(replayed(limits).orders["type"]) == {"limit"}
