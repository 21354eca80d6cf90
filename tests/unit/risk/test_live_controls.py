"""The live controls: hand-worked cases at and beside each limit, and the laws of the catalogue."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_S
from mqd.core.order import OrderType, Side, TimeInForce
from mqd.risk import LatchLevel, Limits, RefusalCode, RiskManager, live_controls
from mqd.risk.live_controls import CONTROLS, fill_breaches, judge_live
from mqd.risk.live_state import LiveLimits, LiveState, SymbolLive, sources_agree
from tests.unit.risk.live_scene import (
    LIMITS,
    LIVE,
    SYMBOL,
    changed,
    instant,
    live_order,
    order_of,
)

TABLES = Path(__file__).parents[2] / "tables"
JUNK = st.sampled_from([None, -1, -(10**20), float("nan"), float("inf"), "1", 0.5])


def rows(name):
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


CASES = rows("live_controls.csv")


def world(live="", symbol=""):
    return LIVE._replace(**changed(live), symbols={"AAA": SYMBOL._replace(**changed(symbol))})


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row['control']}: {row['why']}")
def test_control(row):
    control = getattr(live_controls, row["control"])
    order = order_of(row["order"])
    state = world(row["live"], row["symbol"])
    why = control(order, state, row["reducing"] == "yes", LIMITS)
    assert (why == "") is (row["passes"] == "yes"), why


def test_every_control_has_a_case_that_passes_and_one_that_does_not():
    cases = {(row["control"], row["passes"]) for row in CASES}
    names = {control.judge.__name__ for control in CONTROLS}
    assert cases == {(name, passes) for name in names for passes in ("yes", "no")}


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_a_control_has_the_tables_number(control):
    (row,) = (row for row in rows("refusals.csv") if row["code"] == control.code)
    assert control.number == int(row["control"])


def test_the_defaults_are_the_catalogues():
    """reliability.md section 2, in seconds; 26 is checked every 5 min, 29 every minute."""
    seconds = {k: v / NS_PER_S for k, v in LiveLimits()._asdict().items() if "_ns_" in k}
    assert seconds == {
        "quote_age_ns_max": 5, "crossed_ns_max": 1, "clock_age_ns_max": 60, "skew_ns_max": 2,
        "after_open_ns_min": 60, "before_close_ns_min": 300, "opg_before_open_ns_min": 120,
        "cls_before_close_ns_min": 600, "queue_after_close_ns_max": 900, "status_age_ns_max": 60,
        "resumed_ns_min": 60, "asset_age_ns_max": 86_400, "silence_ns_max": 30,
        "heartbeat_ns_max": 60, "bound_age_ns_max": 360, "reconciled_age_ns_max": 180,
    }  # fmt: skip
    assert (LiveLimits().shorts, LiveLimits().watchdog, LiveLimits().day_only) == (0, 1, 1)


def test_shorts_are_off_unless_switched_on():
    (refusal,) = judge_live(live_order(side=Side.SELL), LIVE, False, LiveLimits())
    assert refusal.code is RefusalCode.SHORT_SALE
    assert judge_live(live_order(side=Side.SELL), LIVE, False, LIMITS) == []


@pytest.mark.parametrize(
    ("is_open", "venue_open", "venue_close", "agree"),
    [
        (True, "12:00:00", "16:00:00", 0),
        (True, "16:00:01", "16:00:00", 1),
        (True, "16:00:01", "13:00:00", 0),
        (False, "09:30:00", "16:00:00", 1),
        (False, "09:31:00", "16:00:00", 0),
        (False, "09:30:00", "13:00:00", 0),
    ],
)
def test_calendar_and_venue_agree_on_one_session(is_open, venue_open, venue_close, agree):
    ours = instant("09:30:00"), instant("16:00:00")
    assert sources_agree(is_open, instant(venue_open), instant(venue_close), *ours) == agree


@pytest.mark.parametrize(
    ("side", "limit", "px", "cum", "after", "n"),
    [
        (Side.BUY, 10000, 10000, 100, 500, 0),
        (Side.BUY, 10000, 10001, 100, 500, 1),
        (Side.SELL, 10000, 10001, 100, -500, 0),
        (Side.SELL, 10000, 9999, 100, -500, 1),
        (Side.BUY, 10000, 9000, 101, 500, 1),
        (Side.BUY, 10000, 9000, 100, 501, 1),
        (Side.SELL, 10000, 10000, 100, 501, 0),
        (Side.SELL, 10000, 10000, 100, -501, 1),
        (Side.BUY, 10000, 0, 100, 500, 1),
        (Side.BUY, 10000, 10002, 101, 501, 3),
    ],
)
def test_a_fill_is_held_against_its_order_and_the_limit_of_5_shares(side, limit, px, cum, after, n):
    found = fill_breaches(live_order(side=side, limit=limit), px, cum, after, 5.0)
    assert len(found) == n
    assert all("AAA" in text for text in found)


# --- laws ---


def draw_state(**fields):
    symbols = {k: v for k, v in fields.items() if k in SymbolLive._fields}
    rest = {k: v for k, v in fields.items() if k in LiveState._fields}
    return LIVE._replace(**rest, symbols={"AAA": SYMBOL._replace(**symbols)})


AGES = (
    "clock_age_ns", "skew_ns", "status_age_ns", "stream_silent_ns", "api_silent_ns", "heartbeat_ns",
    "bound_age_ns", "reconciled_age_ns", "quote_age_ns", "trade_age_ns", "asset_age_ns",
)  # fmt: skip
FLAGS = (
    "sources_agree", "market_halted", "bound", "started", "n_unknown", "halted", "limit_state",
    "two_sided", "restricted", "tradable", "fractionable", "shortable", "easy_to_borrow",
    "open_break",
)  # fmt: skip
PRICES = ("bid_ticks", "ask_ticks", "trade_ticks")
ORDERS = st.builds(
    live_order,
    lots=st.sampled_from([1, 50, 100, 200]),
    side=st.sampled_from(Side),
    kind=st.sampled_from([OrderType.MARKET, OrderType.LIMIT]),
    limit=st.integers(8500, 11500),
    tif=st.sampled_from([TimeInForce.DAY, TimeInForce.GTC, TimeInForce.CLS, TimeInForce.OPG]),
)
STATES = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.integers(0, 90 * NS_PER_S) for name in AGES},
        **{name: st.sampled_from([0, 1]) for name in FLAGS},
        **{name: st.integers(9000, 11000) for name in PRICES},
        "now_ns": st.integers(instant("09:00:00"), instant("16:10:00")),
        "crossed_ns": st.integers(0, 3 * NS_PER_S),
    },
)


def codes(order, state, reducing, **options):
    return {refusal.code for refusal in judge_live(order, state, reducing, LIMITS, **options)}


NEEDED = {
    **dict.fromkeys(("bound", "bound_age_ns", "equity_quanta", "started"), (False, True)),
    **dict.fromkeys(("equity_low_quanta", "equity_high_quanta"), (False, True)),
    **dict.fromkeys(("asset_age_ns", "tradable"), (False, True)),
    **dict.fromkeys(("now_ns", "open_ns", "close_ns", "clock_age_ns"), (False, True)),
    **dict.fromkeys(("skew_ns", "sources_agree"), (False, True)),
    **dict.fromkeys(("status_age_ns", "market_halted", "halted", "limit_state"), (False,)),
    **dict.fromkeys(("resumed_ns", "stream_silent_ns", "api_silent_ns"), (False,)),
    **dict.fromkeys(("heartbeat_ns", "open_break", "reconciled_age_ns", "n_unknown"), (False,)),
    **dict.fromkeys(("restricted", "shortable", "easy_to_borrow"), (False,)),
}
"""Fields without which a sell must not pass, and for which orders (reducing?)."""


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(NEEDED)), JUNK, ORDERS)
def test_p1_what_is_not_known_refuses(name, junk, order):
    for reducing in NEEDED[name]:
        sell = order._replace(side=Side.SELL)
        assert judge_live(sell, draw_state(**{name: junk}), reducing, LIMITS)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(LiveState._fields), JUNK), ORDERS, st.booleans())
def test_p1_junk_never_raises_and_a_state_of_nothing_refuses_everything(junk, order, reducing):
    refusals = judge_live(order, LIVE._replace(**junk), reducing, LIMITS)
    assert all(refusal.observed for refusal in refusals)
    assert codes(order, LiveState(), reducing) >= {C.MODE_UNBOUND, C.NOT_STARTED, C.HOURS}
    assert codes(order, None, reducing) == codes(order, LiveState(), reducing)


C = RefusalCode


@settings(max_examples=400, deadline=None)
@given(STATES, ORDERS, st.booleans(), st.integers(0, 120 * NS_PER_S))
def test_p5_time_that_passes_without_news_never_lets_an_order_through(fields, order, reducing, d):
    young = draw_state(**fields)
    symbol = young.symbols["AAA"]
    aged = {name: getattr(young, name) + d for name in AGES if name in LiveState._fields}
    held = {name: getattr(symbol, name) + d for name in AGES if name in SymbolLive._fields}
    old = young._replace(**aged, symbols={"AAA": symbol._replace(**held)})
    assert codes(order, young, reducing) <= codes(order, old, reducing)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(AGES), STATES, ORDERS, st.booleans(), st.integers(0, 120 * NS_PER_S))
def test_p5_one_older_number_never_lets_an_order_through(name, fields, order, reducing, d):
    """Of quote and trade only one is known here: else the newer of the two is the price."""
    other = {"quote_age_ns": {"trade_ticks": -1}, "trade_age_ns": {"bid_ticks": -1}}
    base = draw_state(**fields)
    held = base.symbols["AAA"]._replace(**other.get(name, {}))
    base = base._replace(symbols={"AAA": held})
    if name in LiveState._fields:
        older = base._replace(**{name: getattr(base, name) + d})
    else:
        older = base._replace(symbols={"AAA": held._replace(**{name: getattr(held, name) + d})})
    assert codes(order, base, reducing) <= codes(order, older, reducing)


REDUCTIONS_PASS = (
    "status_age_ns", "market_halted", "halted", "limit_state", "resumed_ns", "two_sided",
    "restricted", "shortable", "easy_to_borrow", "stream_silent_ns", "api_silent_ns",
    "heartbeat_ns", "open_break", "reconciled_age_ns", "n_unknown",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(REDUCTIONS_PASS), JUNK | st.integers(0, 10**18)),
    ORDERS,
    st.integers(instant("09:30:00"), instant("15:49:00")),
)
def test_p7_a_reduction_passes_whatever_binds_opening_orders_only(fields, order, now):
    order = order._replace(type=OrderType.LIMIT, limit_ticks=10000, time_in_force=TimeInForce.DAY)
    assert codes(order, draw_state(**fields, now_ns=now), True) == set()


@settings(max_examples=200, deadline=None)
@given(STATES, ORDERS, st.booleans(), st.sets(st.sampled_from(CONTROLS)))
def test_p17_one_more_control_never_lets_an_order_through(fields, order, reducing, some):
    state = draw_state(**fields)
    fewer = codes(order, state, reducing, controls=tuple(some))
    assert fewer <= codes(order, state, reducing)
    assert fewer == codes(order, state, reducing) & {control.code for control in some}


# --- the manager ---


def test_the_manager_runs_them_beside_the_rules(make_order, make_snapshot):
    """Everything is unknown: all nine codes, and the rule's own, in one refusal."""
    risk = RiskManager(Limits(deny=frozenset({"AAA"})), live=LiveState)
    verdict = risk.check(make_order(), (), make_snapshot())
    expected = {control.code for control in CONTROLS} - {C.SHORT_SALE}
    assert expected | {C.DENIED_SYMBOL} <= set(verdict.codes)
    assert list(verdict.codes) == sorted(verdict.codes, key=list(RefusalCode).index)


def good_live():
    return LIVE


def broken_live():
    raise OSError("the venue is gone")


def test_the_manager_passes_what_all_controls_pass(make_order, make_snapshot):
    order = make_order(decided_ns=instant("12:00:00"))
    assert RiskManager(Limits.research(), live=good_live).check(order, (), make_snapshot()).order
    short = order._replace(side=Side.SELL)
    refused = RiskManager(Limits.research(), live=good_live).check(short, (), make_snapshot())
    assert refused.codes == (C.SHORT_SALE,)
    passed = RiskManager(Limits.research(), live=good_live, live_limits=LIMITS)
    assert passed.check(short, (), make_snapshot()).order is short


@pytest.mark.parametrize("provider", [broken_live, lambda: None])
def test_a_provider_that_fails_refuses(provider, make_order, make_snapshot):
    risk = RiskManager(Limits.research(), live=provider)
    assert C.MODE_UNBOUND in risk.check(make_order(), (), make_snapshot()).codes


def test_legs_are_judged_too(make_order, make_snapshot):
    """The entry opens and may not; its stop only reduces, and the market order of a leg in a halt
    is refused as the entry is."""
    halted = LIVE._replace(symbols={"AAA": SYMBOL._replace(halted=1)})
    risk = RiskManager(Limits.research(), live=lambda: halted)
    entry = make_order(kind=OrderType.LIMIT, limit_ticks=10000)
    leg = make_order(side=Side.SELL, kind=OrderType.LIMIT, limit_ticks=8999, id="leg")
    held = make_snapshot(held=1)
    assert risk.check(entry, (), make_snapshot()).codes == (C.TRADING_HALT,)
    exit_order = make_order(side=Side.SELL, kind=OrderType.LIMIT, limit_ticks=9900, id="x")
    assert risk.check(exit_order, (), held).order is exit_order
    assert C.PRICE_COLLAR in risk.check(entry, (leg,), make_snapshot()).codes


def test_without_a_live_desk_nothing_changes(make_order, make_snapshot):
    order = make_order()
    assert RiskManager(Limits.research()).check(order, (), make_snapshot()).order is order


def test_a_bad_fill_sets_the_reduce_only_latch(make_order):
    risk = RiskManager(Limits())
    order = make_order(lots=10, kind=OrderType.LIMIT, limit_ticks=10000)
    assert risk.post_trade(order, 10000, 10, 10, 5) == []
    assert risk.kill_switch.level is LatchLevel.CLEAR
    (breach,) = risk.post_trade(order, 10001, 10, 10, 5)
    assert "beyond the limit of 100" in breach
    assert risk.kill_switch.level is LatchLevel.REDUCE_ONLY


def test_a_control_that_raises_refuses():
    """The symbols of a state are no mapping at all: four controls cannot look one up."""
    found = judge_live(live_order(), LIVE._replace(symbols=None), False, LIMITS)
    assert {C.NOT_TRADABLE, C.PRICE_COLLAR, C.TRADING_HALT, C.UNRECONCILED} == {
        refusal.code for refusal in found
    }
    assert all("raised AttributeError" in refusal.observed for refusal in found)
