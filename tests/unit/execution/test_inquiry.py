"""Unknown submits: when the venue is asked, and what its "not found" is worth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.order import OrderStatus, Pending
from mqd.execution.inquiry import WATCH_MAX_NS, Inquiry, to_next_session_end
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.execution.broker_double import order

FOUND, YET, GONE = ReportKind.FOUND, ReportKind.NOT_FOUND_YET, ReportKind.NOT_FOUND
UNKNOWN, SUBMITTED = OrderStatus.UNKNOWN, OrderStatus.SUBMITTED
ACCEPTED, ABANDONED = OrderStatus.ACCEPTED, OrderStatus.ABANDONED


def s(seconds):
    return int(seconds * NS_PER_S)


def unknown(inquiry, name="o1", at_s=0.0):
    inquiry.heard(name, ReportKind.OUTCOME_UNKNOWN, UNKNOWN, Pending.NONE, s(at_s))


def asked_at(inquiry, until_s, *, answer=None):
    """Let time go by in half seconds; return when each id is asked for, in seconds."""
    times = []
    for half in range(2 * until_s + 1):
        for name in inquiry.due(s(half / 2)):
            times.append((name, half / 2))
            if answer is not None:
                answer(name)
    return times


def test_an_unknown_order_is_asked_for_on_the_schedule():
    inquiry = Inquiry()
    unknown(inquiry)
    assert [at for _, at in asked_at(inquiry, 125)] == [1, 2, 4, 8, 16, 30, 60, 90, 120]


def test_a_silent_submit_is_asked_for_after_five_seconds():
    inquiry = Inquiry()
    inquiry.sent("o1", 0)
    assert [at for _, at in asked_at(inquiry, 13)] == [5, 6, 7, 9, 13]
    assert inquiry.open_ids == ["o1"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ReportKind.ACK, ACCEPTED),
        (ReportKind.FILL, OrderStatus.FILLED),
        (ReportKind.DEFINITE_REJECT, OrderStatus.REJECTED),
    ],
)
def test_what_the_venue_confirmed_is_not_asked_for(kind, status):
    inquiry = Inquiry()
    inquiry.sent("o1", 0)
    inquiry.heard("o1", kind, status, Pending.NONE, s(4))
    assert asked_at(inquiry, 400) == []
    assert inquiry.open_ids == []
    assert inquiry.delay_longest_ns == (0 if status is OrderStatus.REJECTED else s(4))


def test_news_that_comes_before_our_own_word_settles_the_order():
    inquiry = Inquiry()
    inquiry.heard("o1", ReportKind.ACK, ACCEPTED, Pending.NONE, s(1))
    inquiry.sent("o1", s(2))
    assert inquiry.open_ids == []
    unknown(inquiry, at_s=3)
    assert inquiry.open_ids == ["o1"]


def test_by_hand_the_second_not_found_after_the_grace_gives_up():
    """Asked at 1 .. 60, 90: those at 60 and 90 count, so it is given up at 90 s."""
    inquiry, kinds = Inquiry(lambda: s(1000)), []
    unknown(inquiry)
    times = asked_at(
        inquiry, 90, answer=lambda name: kinds.append(inquiry.answered(name, False, True))
    )
    assert [at for _, at in times] == [1, 2, 4, 8, 16, 30, 60, 90]
    assert kinds == [YET] * 7 + [GONE]
    assert inquiry.open_ids == []
    assert inquiry.watched_ids == ["o1"]


def test_a_slow_venue_gets_twice_its_longest_delay():
    inquiry = Inquiry()
    inquiry.sent("slow", 0)
    inquiry.heard("slow", ReportKind.ACK, ACCEPTED, Pending.NONE, s(100))
    assert inquiry.grace_ns == s(200)
    unknown(inquiry, at_s=100)
    kinds = []
    times = []
    for at in range(100, 400):
        for name in inquiry.due(s(at)):
            times.append(at)
            kinds.append(inquiry.answered(name, False, True))
    assert kinds.count(GONE) == 1
    assert times[kinds.index(GONE)] == 340
    inquiry.new_day()
    assert inquiry.grace_ns == s(60)


def test_an_answer_to_an_earlier_question_counts_with_that_questions_instant():
    inquiry = Inquiry()
    unknown(inquiry)
    assert inquiry.due(s(59)) == ["o1"]
    assert inquiry.due(s(60)) == ["o1"]
    assert inquiry.answered("o1", False, True) is YET
    assert inquiry.answered("o1", False, True) is YET
    assert inquiry.due(s(90)) == ["o1"]
    assert inquiry.answered("o1", False, True) is YET
    assert inquiry.due(s(120)) == ["o1"]
    assert inquiry.answered("o1", False, True) is GONE


def test_a_new_doubt_starts_the_grace_anew():
    inquiry = Inquiry()
    inquiry.sent("o1", 0)
    unknown(inquiry, at_s=38)
    kinds = []
    asked_at(inquiry, 97, answer=lambda name: kinds.append(inquiry.answered(name, False, True)))
    assert GONE not in kinds


def test_an_order_that_turns_up_is_adopted_and_cancelled_by_the_state_machine():
    """The answer, judged, moves the machine: UNKNOWN, ABANDONED, then live with its cancel due."""
    inquiry, machine = Inquiry(), OrderStateMachine()
    machine.open(order("o1"))
    machine.command("o1", OrderCommand.SEND)
    inquiry.sent("o1", 0)
    statuses = []

    def answer(name, kind=GONE, **more):
        report = inquiry.judged(ExecutionReport(kind, name, "AAPL", 1, **more), True)
        step = machine.apply(report)
        inquiry.heard(name, report.kind, step.after.status, step.after.pending, 0)
        statuses.append(step.after.status)
        return step

    asked_at(inquiry, 125, answer=answer)
    assert statuses[0] is UNKNOWN
    assert statuses[-1] is ABANDONED
    assert inquiry.watched_ids == ["o1"]
    step = answer("o1", FOUND, status="new")
    assert (step.after.status, step.cancel) == (ACCEPTED, True)
    assert inquiry.watched_ids == []


def test_a_watched_id_is_asked_for_until_its_day_is_over():
    inquiry = Inquiry()
    inquiry.watch("old", s(1000), 0)
    assert asked_at(inquiry, 1500) == [("old", 300), ("old", 600), ("old", 900)]
    assert inquiry.watched_ids == []
    assert inquiry.answered("old", False, True) is YET


def test_an_id_that_nobody_asked_for_is_never_given_up():
    inquiry = Inquiry()
    assert inquiry.answered("stranger", False, True) is YET
    assert inquiry.answered("stranger", True, False) is FOUND
    unknown(inquiry)
    assert [inquiry.answered("o1", False, True) for _ in range(3)] == [YET] * 3


def test_a_cancel_without_an_answer_is_polled_and_told_of_once():
    inquiry = Inquiry()
    inquiry.cancel_sent("o1", 0)
    alerts, polls = [], []
    for second in range(700):
        polls += [second for _ in inquiry.due(s(second))]
        alerts += [(second, text) for text in inquiry.alerts(s(second))]
    assert polls[:3] == [30, 60, 90]
    ((at, text),) = alerts
    assert at == 301
    assert "o1" in text
    inquiry.heard("o1", ReportKind.CANCELED, OrderStatus.CANCELED, Pending.NONE, s(700))
    assert asked_at(inquiry, 1000) == []


def test_a_cancel_that_the_venue_refused_is_not_polled():
    inquiry = Inquiry()
    inquiry.cancel_sent("o1", 0)
    inquiry.heard("o1", ReportKind.PENDING_CANCEL, ACCEPTED, Pending.CANCEL, s(20))
    inquiry.heard("o1", ReportKind.CANCEL_REJECTED, ACCEPTED, Pending.NONE, s(29))
    assert inquiry.due(s(31)) == []


def test_the_next_trading_days_end_by_hand():
    """Closes on Friday 10, Monday 13 and Tuesday 14: on Friday noon, Monday's close counts."""
    closes = [day * NS_PER_DAY for day in (10, 13, 14)]
    assert to_next_session_end(10 * NS_PER_DAY - 1, closes) == 3 * NS_PER_DAY + 1
    assert to_next_session_end(10 * NS_PER_DAY, closes) == 4 * NS_PER_DAY
    assert to_next_session_end(13 * NS_PER_DAY, closes) == WATCH_MAX_NS


def test_other_reports_pass_unjudged():
    report = ExecutionReport(ReportKind.FILL, "o1", "AAPL", 1)
    assert Inquiry().judged(report, False) is report


# --- laws ---

ROUNDS = st.lists(
    st.tuples(
        st.integers(1, 45),
        st.sampled_from([True, True, True, False, None]),
        st.sampled_from(["", "", "", "", "", "doubt", "delay"]),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(ROUNDS, st.integers(1, 80))
def test_it_gives_up_only_on_two_healthy_answers_after_the_grace(rounds, delay):
    """Each round: time goes by, it may ask, the answer is healthy, ill or lost. The oracle keeps
    the questions of its own accord, oldest unanswered first."""
    inquiry, now, since, grace = Inquiry(), 0, 0, 60
    open_questions, healthy_misses = [], []
    unknown(inquiry)
    for number, (wait, healthy, event) in enumerate(rounds):
        now += wait
        if event == "doubt":
            unknown(inquiry, at_s=now)
            since, open_questions, healthy_misses = now, [], []
        elif event == "delay":
            inquiry.sent(f"d{number}", s(now))
            now += delay
            inquiry.heard(f"d{number}", ReportKind.ACK, ACCEPTED, Pending.NONE, s(now))
            grace = max(grace, 2 * delay)
        open_questions += [now for _ in inquiry.due(s(now))]
        if healthy is None:
            continue
        kind = inquiry.answered("o1", False, healthy)
        if open_questions:
            healthy_misses = [*healthy_misses, open_questions[0]] if healthy else []
            open_questions = []
        if kind is GONE:
            assert len({at for at in healthy_misses if at - since >= grace}) >= 2
            return
        assert kind is YET


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.lists(st.booleans(), max_size=12), st.integers(0, 100))
def test_a_venue_that_gets_well_settles_every_order(every_s, ill, delay_s):
    """Whatever went wrong before, healthy answers settle it within grace and three questions."""
    inquiry = Inquiry()
    inquiry.sent("d", 0)
    inquiry.heard("d", ReportKind.ACK, ACCEPTED, Pending.NONE, s(delay_s))
    unknown(inquiry, at_s=delay_s)
    answers = iter(ill)
    for now in range(delay_s, 3000, every_s):
        for name in inquiry.due(s(now)):
            healthy = next(answers, True)
            if inquiry.answered(name, False, healthy) is GONE:
                bound = delay_s + max(60, 2 * delay_s) + 30 * (len(ill) + 3) + 3 * every_s
                assert now <= bound
                return
    pytest.fail("never settled")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_an_ill_venue_never_makes_it_give_up(waits):
    inquiry, now = Inquiry(), 0
    unknown(inquiry)
    for wait in waits:
        now += wait
        for name in inquiry.due(s(now)):
            assert inquiry.answered(name, False, False) is YET
    assert inquiry.open_ids == ["o1"]
