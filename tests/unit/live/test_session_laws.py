"""What a session does with bars that come in time, late, twice, damaged or not at all."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY
from mqd.errors import DataError, MqdError
from mqd.live.catching_up import STEPS_MAX, CatchingUp
from mqd.live.paced import bar_of
from mqd.live.session import LiveSession
from mqd.live.steps import GRACE_NS
from tests.unit.live.session_world import (
    DAY0,
    MINUTE,
    NS_PER_S,
    OPEN,
    SYMBOLS,
    World,
    growing,
    message,
)  # fmt: skip

GRACE_S = GRACE_NS / NS_PER_S


def after(minutes):
    return OPEN + int(minutes * MINUTE)


def steady(world, n, symbols=SYMBOLS, delay_s=0.5):
    for minute in range(n):
        for symbol in symbols:
            world.tell(symbol, minute, delay_s)
    return world


def test_every_step_of_a_feed_in_time_is_decided_on_its_own_bars():
    world = steady(World(after(6)), 5).run()
    assert world.decided() == [0, 1, 2, 3, 4]
    assert all(world.minutes(symbol) == [0, 1, 2, 3, 4] for symbol in SYMBOLS)
    assert (world.session.n_closed, world.session.n_passed, world.arrivals.late) == (5, 0, 0)
    assert (world.desk.n_started, world.desk.n_stopped) == (1, 1)


def test_the_log_says_which_bars_are_in_before_anything_is_heard():
    """The bars of a minute come a second late: what is heard meanwhile is heard before them."""
    world = steady(World(after(6)), 5, delay_s=1.5).run()
    told = [({"bars.taken"}, {"ts_close": taken}) for taken, _ in world.desk.heard_after]
    assert [({kind}, said) for _, (kind, said) in world.desk.heard_after] == told
    closes = [said["ts_close"] for _, said in world.desk.written]
    assert closes == [0, *(after(minute) for minute in range(1, 6))]
    again = LiveSession(
        world.desk, world.market, world.broker, world.clock, world.arrivals, world.wake
    )
    again.hear()
    assert world.desk.written[-2:] == [("bars.taken", {"ts_close": after(5)})] * 2


def test_a_symbol_without_trades_is_waited_for_no_longer_than_the_grace():
    world = World(after(4))
    for minute in range(3):
        world.tell("AAA", minute, 0.5)
    world.run()
    assert world.decided() == [0, 1, 2]
    assert world.desk.told[after(1)] == ["AAA"]
    assert world.minutes("BBB") == []


def test_a_minute_in_which_nothing_traded_is_no_step():
    world = World(after(5))
    for minute in (0, 3):
        world.tell("AAA", minute, 0.5)
        world.tell("BBB", minute, 0.5)
    world.run()
    assert world.decided() == [0, 3]


DAMAGES = (
    {"h": 9.0}, {"l": 11.0}, {"c": float("nan")}, {"c": "x"}, {"v": -1}, {"o": None}, {"l": 0.0},
    {"c": 1e300, "h": 1e300}, {"v": float("inf")}, {"t": OPEN + MINUTE + NS_PER_S},
    {"t": OPEN - 3600 * NS_PER_S}, {"t": 2**80}, {"t": None},
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=[str(one) for one in DAMAGES])
def test_a_damaged_bar_is_counted_and_the_day_goes_on(damage):
    world = World(after(5))
    for minute in range(4):
        world.tell("AAA", minute, 0.5)
        world.tell("BBB", minute, 0.5, **(damage if minute == 1 else {}))
    world.run()
    assert world.decided() == [0, 1, 2, 3]
    assert world.minutes("AAA") == [0, 1, 2, 3]
    assert world.minutes("BBB") == [0, 2, 3]
    assert world.arrivals.bad == 1


def test_a_message_without_its_fields_is_a_bad_bar():
    world = steady(World(after(3)), 2)
    world.at(30, lambda: world.arrivals.put([{"T": "b", "S": "AAA"}, {"T": "b"}]))
    world.run()
    assert world.arrivals.bad == 2
    assert world.decided() == [0, 1]


def test_a_late_bar_is_history_while_its_symbol_has_no_newer_one():
    world = World(after(4))
    world.tell("AAA", 0, 0.5)
    world.tell("BBB", 0, GRACE_S + 20, px=20.0)
    world.tell("AAA", 1, 0.5)
    world.tell("BBB", 1, 0.5, px=21.0)
    world.run()
    assert world.decided() == [0, 1]
    assert world.minutes("BBB") == [0, 1]
    assert world.session.n_late_taken == world.arrivals.late == 1
    counted = {"bars": 2, "n_passed": 0, "late_bars": 1, "n_late_taken": 1, "n_backfilled": 0}
    assert world.session.counters() == counted
    assert world.market.known("BBB").close.tolist() == [20.0, 21.0]


def test_a_late_bar_behind_a_newer_one_is_left_out_and_counted():
    world = steady(World(after(5)), 3, symbols=("AAA",))
    world.tell("BBB", 1, 0.5)
    world.tell("BBB", 0, 90)
    world.run()
    assert world.minutes("BBB") == [1]
    assert (world.arrivals.late, world.session.n_late_taken) == (1, 0)


def test_of_two_messages_on_a_bar_the_last_before_its_end_counts():
    world = World(after(3))
    world.tell("AAA", 0, 0.5, px=10.0)
    world.tell("AAA", 0, 1.5, px=11.0)
    world.tell("AAA", 0, GRACE_S + 9, px=12.0)
    world.run()
    assert world.market.known("AAA").close.tolist() == [11.0]
    assert world.arrivals.late == 1


def test_after_a_long_pause_the_older_steps_are_history_and_the_newest_is_decided_on():
    world = steady(World(after(8)), 6)
    world.events += [(after(1.5), lambda: _sleep(world, after(5.01)))]
    world.run()
    assert world.decided() == [0, 4, 5]
    assert [int((ts - OPEN) // MINUTE) - 1 for ts in world.desk.passed] == [1, 2, 3]
    assert all(world.minutes(symbol) == [0, 1, 2, 3, 4, 5] for symbol in SYMBOLS)
    assert world.session.n_passed == 3


def _sleep(world, until_ns):
    world.clock.now = until_ns


def test_a_step_older_than_its_width_is_no_price_any_more():
    world = World(after(4))
    world.tell("AAA", 0, 0.5)
    world.tell("BBB", 0, 0.5)
    world.events += [(after(0.9), lambda: _sleep(world, after(2.5)))]
    world.run()
    assert world.decided() == []
    assert world.session.n_passed == 1
    assert world.minutes("AAA") == [0]


def test_a_daily_bar_is_decided_on_when_the_grace_says_that_it_is_whole():
    """XNYS closes at 20:00 UTC in May; Alpaca tells a day's bar anew while it grows."""
    market = growing(width_ns=NS_PER_DAY)
    close = DAY0 + 20 * 3600 * NS_PER_S
    world = World(close + MINUTE, start_ns=close - MINUTE, market=market)
    for at_ns, px in ((close - 30 * NS_PER_S, 10.0), (close + NS_PER_S, 12.0)):
        for symbol in SYMBOLS:
            told = message(symbol, 0, px) | {"T": "d", "t": DAY0 + 4 * 3600 * NS_PER_S}
            world.events.append((at_ns, lambda told=told: world.arrivals.put([told])))
    world.run()
    assert world.desk.decided == [close]
    assert market.known("AAA").close.tolist() == [12.0]


def test_a_calendar_that_ends_is_a_sentence():
    market = growing(days=1)
    end = int(market.calendar.closes[-1])
    world = World(end + NS_PER_DAY, start_ns=end - MINUTE, market=market)
    asked = []
    world.catching_up = CatchingUp(world.arrivals, lambda a, u: asked.append((a, u)) or [])
    with pytest.raises(DataError, match="Start the desk again"):
        world.run([lambda _session: world.catching_up.ask()])
    assert asked == [(end - 1, end)]


@given(
    delays=st.lists(
        st.tuples(*[st.one_of(st.none(), st.floats(0, 200)) for _ in SYMBOLS]),
        min_size=1, max_size=8,
    )
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_rows_grow_in_order_and_no_step_is_decided_when_it_is_old(delays):
    world = World(after(len(delays) + 6))
    ages = []
    for minute, row in enumerate(delays):
        for symbol, delay in zip(SYMBOLS, row, strict=True):
            if delay is not None:
                world.tell(symbol, minute, delay)
    end = world.desk.end
    world.desk.end = lambda step: (
        ages.append(world.clock.now - world.market.ts_close[step]), end(step)
    )  # fmt: skip
    world.run()
    decided = world.desk.decided
    assert decided == sorted(set(decided))
    assert all(0 <= age <= MINUTE + GRACE_NS for age in ages)
    for place, symbol in enumerate(SYMBOLS):
        held = world.minutes(symbol)
        assert held == sorted(set(held))
        prompt = [m for m, row in enumerate(delays) if row[place] is not None and row[place] <= 1]
        assert set(prompt) <= set(held)
    n_told = sum(delay is not None for row in delays for delay in row)
    n_held = sum(len(world.minutes(symbol)) for symbol in SYMBOLS)
    assert n_held <= n_told <= n_held + world.arrivals.late
    assert world.market.taken_ns in {*world.desk.decided, *world.desk.passed, 0}


# --- bars that the stream owes ---------------------------------------------------------------


class Elsewhere:
    """A source of history that holds given minutes of BBB, and fails when told to."""

    def __init__(self, minutes, failing=0):
        self.minutes, self.failing, self.questions = minutes, failing, []

    def __call__(self, after_ns, until_ns):
        self.questions.append((after_ns, until_ns))
        if self.failing:
            self.failing -= 1
            raise MqdError("no answer")
        bars = [bar_of(message("BBB", minute, 20.0)) for minute in self.minutes]
        return [bar for bar in bars if after_ns < bar.ts_open + MINUTE <= until_ns]


def _try(catching):
    try:
        catching.ask()
    except MqdError:
        return


def test_a_bar_that_the_stream_owes_completes_its_step():
    elsewhere = Elsewhere({1})
    world = World(after(4))
    world.catching_up = CatchingUp(world.arrivals, elsewhere)
    for minute in range(3):
        world.tell("AAA", minute, 0.5)
    world.tell("BBB", 0, 0.5)
    world.tell("BBB", 2, 0.5)
    world.run([lambda _session: world.catching_up.ask()])
    assert world.decided() == [0, 1, 2]
    assert world.minutes("BBB") == [0, 1, 2]
    assert world.desk.told[after(2)] == ["AAA", "BBB"]
    assert elsewhere.questions[0] == (after(2) - 1, after(2))
    assert world.session.counters()["n_backfilled"] == 1
    assert world.session.ended


def test_no_answer_leaves_the_bars_owed_and_one_question_asks_for_all():
    elsewhere = Elsewhere({0, 1, 2}, failing=1)
    world = World(after(5))
    world.catching_up = CatchingUp(world.arrivals, elsewhere)
    for minute in range(4):
        world.tell("AAA", minute, 0.5)
    world.at(60 + GRACE_S - 0.5, lambda: _try(world.catching_up))
    world.at(180 + GRACE_S - 0.5, lambda: _try(world.catching_up))
    world.run()
    assert elsewhere.questions == [(after(1) - 1, after(1)), (after(1) - 1, after(3))]
    assert world.minutes("BBB") == [0, 1, 2]
    assert world.desk.told[after(1)] == world.desk.told[after(2)] == ["AAA"]
    assert world.desk.told[after(3)] == ["AAA", "BBB"]


def test_steps_that_passed_while_the_desk_slept_are_asked_for_too():
    elsewhere = Elsewhere({1, 2, 3, 4})
    world = World(after(8))
    world.catching_up = CatchingUp(world.arrivals, elsewhere)
    for minute in (0, 5):
        for symbol in SYMBOLS:
            world.tell(symbol, minute, 0.5)
    world.events += [(after(1.5), lambda: _sleep(world, after(5.9)))]
    world.run([lambda _session: world.catching_up.ask()])
    assert world.minutes("BBB") == [0, 1, 2, 3, 4, 5]
    assert world.decided() == [0, 5]
    assert elsewhere.questions[0] == (after(2) - 1, after(5))


def test_a_bar_of_history_that_is_none_is_counted():
    world = World(after(3))
    broken = bar_of(message("BBB", 0, 20.0))._replace(high=1.0)
    world.catching_up = CatchingUp(
        world.arrivals, lambda after_ns, _until_ns: [broken][: after_ns < after(1)]
    )
    world.tell("AAA", 0, 0.5)
    world.run([lambda _session: world.catching_up.ask()])
    assert world.arrivals.bad == 1
    assert world.minutes("BBB") == []


def test_the_thread_that_asks_outlives_any_answer():
    world = World(after(2))
    world.tell("AAA", 0, 0.5)
    answers = iter([ValueError("an answer of garbage"), [bar_of(message("BBB", 0, 20.0))]])
    asked = []

    def answer(after_ns, until_ns):
        asked.append((after_ns, until_ns))
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    catching = CatchingUp(world.arrivals, answer)
    catching.start()
    try:
        catching.want({after(1): frozenset({"BBB"})})
        _until(lambda: catching.n_backfilled == 1)
    finally:
        catching.stop()
    assert asked == [(after(1) - 1, after(1))] * 2
    assert [bar.symbol for bar in world.arrivals.of(after(1)).values()] == ["BBB"]


def _until(true, seconds=10.0):
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        waiting.wait(0.02)
    raise AssertionError("it did not come to pass")


def test_what_is_owed_is_bounded():
    asked = []
    catching = CatchingUp(World(after(1)).arrivals, lambda a, u: asked.append((a, u)) or [])
    stamps = [after(1 + k) for k in range(STEPS_MAX + 7)]
    catching.want(dict.fromkeys(stamps, frozenset({"BBB"})))
    catching.ask()
    assert asked == [(stamps[7] - 1, stamps[-1])]
