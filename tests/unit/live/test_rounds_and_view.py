"""What a desk knows of its venue: clocks that are off, half days, strange assets, lost bindings."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mqd.adapters.alpaca.errors import BindingRefused
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.errors import MqdError
from mqd.live.rounds import ASSETS_S, Rounds
from mqd.live.view import DeskView
from mqd.market_data.calendar import calendar_for
from mqd.risk.live_controls import judge_live
from mqd.risk.live_state import UNKNOWN, LiveState, SymbolLive
from tests.unit.risk.live_scene import LIMITS, live_order, order_of


def instant(text):
    """Return ``2022-11-25T18:00`` (UTC) in ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


HALF_DAY = "2022-11-25"  # the day after Thanksgiving: NYSE closes at 13:00 New York, 18:00 UTC
CALENDAR = calendar_for("XNYS", instant("2022-11-21T00:00"), instant("2022-12-02T00:00"))


class Venue:
    """A connector that answers what a test says."""

    def __init__(self, now_ns, next_close, *, is_open=True, next_open="2022-11-28T14:30"):
        self.said = SimpleNamespace(
            now_ns=now_ns, is_open=is_open, next_open_ns=instant(next_open),
            next_close_ns=instant(next_close),
        )  # fmt: skip
        self.assets = {}

    def clock(self):
        if self.said is None:
            raise MqdError("no answer")
        return self.said

    def asset(self, symbol):
        return self.assets[symbol]


class Ours:
    """This computer's clock: the monotonic one goes with it."""

    def __init__(self, now_ns):
        self.now = now_ns

    def now_ns(self):
        return self.now

    def monotonic_ns(self):
        return self.now


def rounds_of(venue, ours, factor=1.0):
    bound = SimpleNamespace(recheck=lambda: None)
    return Rounds(venue, bound, ("AAA",), CALENDAR, ours, factor)


NOON = instant(f"{HALF_DAY}T17:00")


@pytest.mark.parametrize("off_s", [10, -10])
def test_a_clock_ten_seconds_off_refuses_orders_by_name(off_s):
    ours = Ours(NOON)
    rounds = rounds_of(Venue(NOON + off_s * NS_PER_S, f"{HALF_DAY}T18:00"), ours)
    rounds.ask_clock()
    assert rounds.skew_ns == 10 * NS_PER_S
    assert "clock" in refusals(rounds, ours)


@pytest.mark.parametrize(
    ("off_s", "took_s", "skew_s"),
    [(0, 1.5, 0), (0, 12, None), (10, 12, None), (-10, 12, 10), (25, 12, 13), (10, 0.5, 9.5)],
)
def test_a_slow_answer_neither_hides_a_skew_nor_makes_one_up(off_s, took_s, skew_s):
    """The venue says its clock as the question comes in; the answer takes its time."""
    ours = Ours(NOON)
    venue = Venue(NOON + off_s * NS_PER_S, f"{HALF_DAY}T18:00")
    told = venue.said

    class Slow(type(venue)):
        def clock(self):
            ours.now += int(took_s * NS_PER_S)
            return told

    rounds = rounds_of(Slow(NOON, f"{HALF_DAY}T18:00"), ours)
    rounds.ask_clock()
    assert rounds.skew_ns == (UNKNOWN if skew_s is None else skew_s * NS_PER_S)
    assert ("clock" in refusals(rounds, ours)) is (skew_s != 0)


def test_a_clock_that_agrees_refuses_nothing():
    ours = Ours(NOON)
    rounds = rounds_of(Venue(NOON, f"{HALF_DAY}T18:00"), ours)
    rounds.ask_clock()
    assert (rounds.skew_ns, rounds.agree) == (0, 1)
    assert refusals(rounds, ours) == ""


def test_in_a_rehearsal_skew_is_real_time():
    """At 60 times real time a venue half a minute ahead is half a second of real time ahead."""
    rounds = rounds_of(Venue(NOON + 30 * NS_PER_S, f"{HALF_DAY}T18:00"), Ours(NOON), 60.0)
    rounds.ask_clock()
    assert rounds.skew_ns == NS_PER_S // 2


def test_an_answer_that_does_not_come_leaves_the_last_one_growing_old():
    ours, venue = Ours(NOON), Venue(NOON, f"{HALF_DAY}T18:00")
    rounds = rounds_of(venue, ours)
    rounds.ask_clock()
    ours.now += 2 * NS_PER_MINUTE
    venue.said = None
    with pytest.raises(MqdError):
        rounds.ask_clock()
    assert "clock" in refusals(rounds, ours)


@pytest.mark.parametrize(("close", "agree"), [(f"{HALF_DAY}T18:00", 1), (f"{HALF_DAY}T21:00", 0)])
def test_a_half_day_must_be_one_for_the_venue_too(close, agree):
    rounds = rounds_of(Venue(NOON, close), Ours(NOON))
    rounds.ask_clock()
    assert rounds.agree == agree


@pytest.mark.parametrize(("time", "refused"), [("17:30", False), ("17:59", True), ("18:30", True)])
def test_on_a_half_day_nothing_opens_near_its_own_close(time, refused):
    ours = Ours(instant(f"{HALF_DAY}T{time}"))
    is_open = ours.now < instant(f"{HALF_DAY}T18:00")
    closes = f"{HALF_DAY}T18:00" if is_open else "2022-11-28T21:00"
    rounds = rounds_of(Venue(ours.now, closes, is_open=is_open), ours)
    rounds.ask_clock()
    assert ("hours" in refusals(rounds, ours)) is refused


@pytest.mark.parametrize(
    ("flags", "order", "word"),
    [
        ((0, 1, 1, 1), "", "asset"),
        ((1, 0, 1, 1), "lots=50", "asset"),
        ((1, 1, 0, 1), "side=sell", "asset"),
        ((1, 1, 1, 0), "side=sell", "asset"),
        ((UNKNOWN, 1, 1, 1), "", "asset"),
        ((1, 1, 1, 1), "", ""),
    ],
    ids=["renamed", "not fractionable", "not shortable", "hard to borrow", "unknown", "fine"],
)
def test_an_asset_that_does_not_take_the_order_refuses_it(flags, order, word):
    ours, venue = Ours(NOON), Venue(NOON, f"{HALF_DAY}T18:00")
    venue.assets["AAA"] = flags
    rounds = rounds_of(venue, ours)
    rounds.ask_clock()
    rounds.ask_assets()
    said = refusals(rounds, ours, order)
    assert word in said
    assert bool(said) is bool(word)


def test_a_binding_that_is_refused_is_none_until_it_holds_again():
    ours, refused = Ours(NOON), [True]

    def recheck():
        if refused[0]:
            raise BindingRefused("another account")

    rounds = rounds_of(Venue(NOON, f"{HALF_DAY}T18:00"), ours)
    rounds._bound_account = SimpleNamespace(recheck=recheck)
    rounds.ask_clock()
    with pytest.raises(BindingRefused):
        rounds.ask_binding()
    assert (rounds.bound, "binding" in refusals(rounds, ours)) == (0, True)
    refused[0] = False
    rounds.ask_binding()
    assert (rounds.bound, refusals(rounds, ours)) == (1, "")


def view(rounds, ours, seen=None):
    """Return a desk's view whose other parts are all well."""
    fresh = ours.monotonic_ns()
    stream = SimpleNamespace(channels={"statuses"}, listening=True, last_alive_mono_ns=fresh)
    shown = seen or SymbolLive(
        bid_ticks=9999, ask_ticks=10001, quote_age_ns=0, crossed_ns=0, trade_ticks=10000,
        trade_age_ns=0, halted=0, limit_state=0, resumed_ns=0, two_sided=0, restricted=0,
    )  # fmt: skip
    return DeskView(
        clock=ours, calendar=CALENDAR, symbols=("AAA",),
        streams=SimpleNamespace(state={"data": stream, "trading": stream}),
        sightings=SimpleNamespace(
            market_halted=0, look=lambda symbols, watched: dict.fromkeys(symbols, shown)
        ),
        rounds=rounds,
        watcher=SimpleNamespace(
            latest=SimpleNamespace(account_=SimpleNamespace(equity_quanta=500)),
            last_ok_mono_ns=fresh,
        ),
        reconciler=SimpleNamespace(last=object(), last_mono_ns=fresh, frozen=frozenset()),
        doubts=SimpleNamespace(inquiry=SimpleNamespace(open_ids=())),
        equity_quanta=(100, 900), watchdog_ns=lambda: 0, started=True,
    )  # fmt: skip


def refusals(rounds, ours, order=""):
    """Return what the live controls say to an order decided now, when all else is well."""
    if not rounds.assets:
        rounds._connector.assets.setdefault("AAA", (1, 1, 1, 1))
        rounds.ask_assets()
    terms = order_of(order)._replace(decided_ns=ours.now)
    return "; ".join(
        f"{one.limit} {one.observed}"
        for one in judge_live(terms, view(rounds, ours)(), False, LIMITS)
    )


def test_of_a_desk_that_has_heard_nothing_everything_is_unknown_and_refuses():
    ours = Ours(NOON)
    rounds = rounds_of(Venue(NOON, f"{HALF_DAY}T18:00"), ours)
    state = view(rounds, ours)()
    assert (state.clock_age_ns, state.skew_ns, state.sources_agree) == (UNKNOWN,) * 3
    assert state.symbols["AAA"].tradable == UNKNOWN
    assert judge_live(live_order(), LiveState(), False, LIMITS)
    assert judge_live(live_order(), state, False, LIMITS)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: setattr(v.streams.state["trading"], "listening", False),
        lambda v: setattr(v.streams.state["data"], "channels", set()),
        lambda v: setattr(v.reconciler, "frozen", frozenset({"AAA"})),
        lambda v: setattr(v.reconciler, "last_mono_ns", None),
        lambda v: setattr(v, "started", False),
        lambda v: setattr(v, "watchdog_ns", lambda: None),
        lambda v: setattr(v.watcher, "latest", None),
        lambda v: setattr(v.doubts.inquiry, "open_ids", ("x",)),
        lambda v: setattr(v.sightings, "market_halted", 1),
    ],
    ids=[
        "no order stream", "no statuses", "frozen", "never compared", "not started", "no watchdog",
        "no snapshot", "in doubt", "breaker",
    ],
)  # fmt: skip
def test_each_part_that_is_not_well_refuses(change):
    ours, venue = Ours(NOON), Venue(NOON, f"{HALF_DAY}T18:00")
    venue.assets["AAA"] = (1, 1, 1, 1)
    rounds = rounds_of(venue, ours)
    rounds.ask_clock()
    rounds.ask_assets()
    made = view(rounds, ours)
    order = live_order()._replace(decided_ns=ours.now)
    assert judge_live(order, made(), False, LIMITS) == []
    change(made)
    assert judge_live(order, made(), False, LIMITS) != []


def test_assets_are_kept_as_they_come_and_only_missing_or_old_ones_are_asked_for():
    """A budget of calls may end a round in its middle: the next one goes on there."""
    ours, venue, asked = Ours(NOON), Venue(NOON, f"{HALF_DAY}T18:00"), []
    rounds = Rounds(venue, SimpleNamespace(), ("A", "B", "C"), CALENDAR, ours)

    def asset(symbol):
        asked.append(symbol)
        if asked == ["A", "B"]:
            raise MqdError("the rate budget is used up")
        return (1, 1, 1, 1)

    venue.asset = asset
    with pytest.raises(MqdError):
        rounds.ask_assets()
    assert set(rounds.assets) == {"A"}
    rounds.ask_assets()
    assert asked == ["A", "B", "B", "C"]
    rounds.ask_assets()
    assert len(asked) == 4
    ours.now += int(ASSETS_S) * NS_PER_S
    rounds.ask_assets()
    assert asked[4:] == ["A", "B", "C"]
