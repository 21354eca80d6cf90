"""The order state machine beyond its table: quantities, executions, words, readers."""

import sys
import threading
from decimal import Decimal

import pytest

from mqd.core.execution_report import Fill, OrderCommand
from mqd.core.order import OrderStatus, Side
from mqd.errors import IllegalTransition, OrderRefused
from mqd.orders.blotter import Blotter
from mqd.orders.state_machine import OrderStateMachine
from mqd.orders.transitions import STATUS_WORDS
from tests.unit.orders.life import at, driven, fill, order, report, sent, status_of


def test_a_plain_life():
    machine = OrderStateMachine()
    assert status_of(machine.open(order())) == ("intent", "none", 0)
    assert status_of(machine.command("o1", OrderCommand.SEND)) == ("submitted", "none", 0)
    assert status_of(machine.apply(report("accepted", venue_order_id="v7")))[0] == "accepted"
    part = machine.apply(fill("e1", 4, 100, ts_fill=3, fee_quanta=9))
    assert part.fill == Fill("e1", 4, 100, 9, 3)
    assert status_of(part) == ("partially_filled", "none", 4)
    assert part.after.leaves_lots == 6
    last = machine.apply(fill("e2", 6, 105, whole=True, cum_lots=10))
    assert status_of(last) == ("filled", "none", 10)
    state = machine.state("o1")
    assert state.avg_px == Decimal("1.03")  # (4 x 1.00 + 6 x 1.05) / 10
    assert (state.filled_qty, state.leaves_lots, state.is_terminal) == (Decimal(10), 0, True)
    assert state.venue_order_id == "v7"
    assert machine.quarantined == frozenset()
    assert machine.working() == []


def test_a_known_id_returns_the_existing_order():
    machine = driven(10, report("accepted"))
    before = machine.state("o1")
    assert machine.open(order("o1", lots=99)) is before
    assert machine.state("o1") is before
    assert len(machine.states()) == 1


def test_an_order_without_quantity_is_not_opened():
    with pytest.raises(OrderRefused, match="no quantity"):
        OrderStateMachine().open(order(lots=0))


def test_denied_is_ours_and_only_before_sending():
    machine = OrderStateMachine()
    machine.open(order())
    step = machine.deny("o1")
    assert status_of(step) == ("denied", "none", 0)
    assert machine.working() == []
    with pytest.raises(IllegalTransition, match="o1 is denied"):
        machine.deny("o1")
    with pytest.raises(IllegalTransition, match="not open"):
        machine.deny("o9")
    with pytest.raises(IllegalTransition, match="not open"):
        machine.command("o9", OrderCommand.SEND)


def test_a_duplicate_execution_counts_once_in_every_status():
    for status in ("partially_filled", "filled"):
        machine = at(OrderStatus(status))
        before = machine.state("o1")
        step = machine.apply(fill("e1", 4))
        assert step.duplicate
        assert step.fill is None
        assert machine.state("o1") is before


def test_the_same_execution_id_on_two_orders_is_two_executions():
    machine = sent()
    machine.open(order("o2"))
    machine.command("o2", OrderCommand.SEND)
    assert machine.apply(fill("e1", 4)).fill is not None
    assert machine.apply(fill("e1", 4)._replace(client_order_id="o2")).fill is not None


def test_an_execution_that_changes_its_terms_keeps_the_first_and_quarantines():
    machine = driven(10, fill("e1", 4, 100))
    step = machine.apply(fill("e1", 5, 100))
    assert "e1 changed its terms" in step.anomaly
    assert machine.state("o1").booked_lots == 4
    assert machine.quarantined == {"AAPL"}


@pytest.mark.parametrize("status", ["canceled", "expired", "rejected", "replaced", "abandoned"])
def test_a_late_fill_is_always_booked(status):
    machine = at(OrderStatus(status))
    step = machine.apply(fill("late", 4, 120))
    assert step.fill == Fill("late", 4, 120, 0, 0)
    assert step.late_fill
    assert step.after.booked_lots == 4
    assert step.after.status == ("partially_filled" if status == "abandoned" else status)


def test_lots_known_only_by_the_venues_count_are_provisional_and_count_once():
    machine = driven(10, report("accepted"))
    step = machine.apply(report("found", status="partially_filled", cum_lots=6))
    assert status_of(step) == ("partially_filled", "none", 6)
    assert (step.after.provisional_lots, step.fill, step.query) == (6, None, True)
    assert step.after.worst_case_lots == 10  # nothing has reached the ledger
    step = machine.apply(fill("e1", 4, cum_lots=4))
    assert (step.after.cum_lots, step.after.provisional_lots) == (6, 2)
    step = machine.apply(fill("e2", 2, cum_lots=6))
    assert (step.after.cum_lots, step.after.provisional_lots) == (6, 0)
    assert not step.query


def test_the_venues_count_never_regresses():
    machine = driven(10, report("found", status="partially_filled", cum_lots=6))
    step = machine.apply(report("found", status="partially_filled", cum_lots=3))
    assert step.duplicate
    assert step.after.cum_lots == 6


def test_an_overfill_is_taken_whole_and_quarantined():
    machine = driven(10, report("accepted"), fill("e1", 8))
    step = machine.apply(fill("e2", 5))
    assert step.fill.lots == 5
    assert "overfill, 13 of 10 lots" in step.anomaly
    assert status_of(step) == ("filled", "none", 13)
    assert machine.quarantined == {"AAPL"}
    machine.release("AAPL")
    assert machine.quarantined == frozenset()
    assert machine.state("o1").quarantined


def test_a_fill_that_claims_to_be_the_last_but_is_not_asks():
    step = sent(10).apply(fill("e2", 4, whole=True))
    assert status_of(step) == ("partially_filled", "none", 4)
    assert step.query


def test_a_snapshot_that_says_filled_is_believed_by_quantity_only():
    step = driven(10, fill("e1", 4)).apply(report("found", status="filled", cum_lots=7))
    assert status_of(step) == ("partially_filled", "none", 7)
    assert step.query


def test_a_bust_before_its_fill_leaves_a_tombstone():
    machine = driven(10, report("accepted"))
    step = machine.apply(report("bust", ref_execution_id="e1"))
    assert step.voided is None
    assert step.anomaly
    step = machine.apply(fill("e1", 4, cum_lots=4))
    assert (step.fill, step.after.booked_lots, step.after.cum_lots) == (None, 0, 0)
    assert machine.apply(report("bust", ref_execution_id="e1")).duplicate


def test_a_bust_takes_back_what_was_booked():
    machine = driven(10, report("accepted"), fill("e1", 4, 100, cum_lots=4), fill("e2", 3, 110))
    step = machine.apply(report("bust", ref_execution_id="e1"))
    assert step.voided == Fill("e1", 4, 100, 0, 0)
    assert (step.after.booked_lots, step.after.notional, step.after.cum_lots) == (3, 330, 3)
    assert step.after.busted == ("e1",)


def test_a_correction_voids_and_books():
    machine = driven(10, report("accepted"), fill("e1", 4, 100))
    step = machine.apply(
        report("correct", ref_execution_id="e1", execution_id="e2", last_lots=3, last_ticks=90)
    )
    assert (step.voided.execution_id, step.fill.execution_id) == ("e1", "e2")
    assert (step.after.booked_lots, step.after.notional) == (3, 270)
    again = machine.apply(report("correct", ref_execution_id="e1", last_lots=2, last_ticks=80))
    assert "made void twice" in again.anomaly
    assert again.after.booked_lots == 3


def test_a_correction_without_an_id_of_its_own():
    machine = driven(10, report("accepted"), fill("e1", 4, 100))
    told = report("correct", ref_execution_id="e1", last_lots=4, last_ticks=101)
    assert machine.apply(told).fill.execution_id == "e1'"
    assert machine.apply(told).duplicate


def test_a_corrected_execution_can_be_busted_before_the_correction_arrives():
    machine = driven(10, report("accepted"), fill("e1", 4, 100))
    machine.apply(report("bust", ref_execution_id="e2"))
    step = machine.apply(
        report("correct", ref_execution_id="e1", execution_id="e2", last_lots=4, last_ticks=90)
    )
    assert (step.voided.execution_id, step.fill, step.after.booked_lots) == ("e1", None, 0)


def test_bust_and_fill_without_a_key_are_anomalies():
    machine = driven(10, report("accepted"))
    assert "names no execution" in machine.apply(report("bust")).anomaly
    assert "has no key" in machine.apply(fill("", 4)).anomaly
    assert "has no key" in machine.apply(fill("e1", -4)).anomaly
    counted = machine.apply(fill("", 4, cum_lots=4))
    assert not counted.anomaly
    assert counted.after.provisional_lots == 4


def test_an_unknown_order_is_an_anomaly_with_its_symbol_quarantined():
    machine = sent()
    step = machine.apply(report("fill", name="foreign", symbol="IBM", execution_id="e"))
    assert (step.before, step.after, step.fill, step.query) == (None, None, None, True)
    assert "unknown order 'foreign'" in step.anomaly
    assert machine.quarantined == {"IBM"}


def test_a_report_on_another_symbol_is_applied_and_both_are_quarantined():
    machine = sent()
    step = machine.apply(fill("e1", 4)._replace(symbol="AAPL.OLD"))
    assert step.fill is not None
    assert "the order is on AAPL" in step.anomaly
    assert machine.quarantined == {"AAPL", "AAPL.OLD"}


def test_a_kind_that_is_no_report_is_an_anomaly():
    machine = sent()
    step = machine.apply(report("accepted")._replace(kind="send"))
    assert step.anomaly
    assert machine.state("o1").status == "submitted"


def test_an_unknown_status_word_counts_as_open_and_quarantines():
    step = sent().apply(report("found", status="gone_fishing"))
    assert step.after.status == "accepted"
    assert "gone_fishing" in step.anomaly
    assert step.query


def test_a_status_report_with_a_word_that_is_no_status_asks():
    step = driven(10, report("accepted")).apply(report("status", status="jolly"))
    assert "jolly" in step.anomaly


WORDS_OF_ALPACA = {
    "accepted": "accepted",
    "pending_new": "accepted",
    "new": "accepted",
    "accepted_for_bidding": "accepted",
    "held": "accepted",
    "partially_filled": "partially_filled",
    "filled": "filled",
    "pending_cancel": "accepted",
    "pending_replace": "accepted",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
    "replaced": "replaced",
    "done_for_day": "submitted",
    "calculated": "submitted",
    "stopped": "submitted",
    "suspended": "submitted",
}


@pytest.mark.parametrize(("word", "status"), WORDS_OF_ALPACA.items())
def test_each_status_word_of_the_venue_is_known(word, status):
    cum = {"partially_filled": 4, "filled": 10}.get(word, 0)
    step = sent().apply(report("found", status=word, cum_lots=cum))
    assert word in STATUS_WORDS
    assert not step.anomaly
    assert step.after.status == status
    pending = word.removeprefix("pending_")
    assert step.after.pending == (pending if pending in ("cancel", "replace") else "none")


def test_a_found_intent_was_sent_after_all():
    machine = at(OrderStatus.INTENT)
    step = machine.apply(report("found", status="canceled", cum_lots=0))
    assert (step.after.status, step.anomaly) == ("canceled", "")


def test_a_cancel_that_cannot_be_sent_yet_is_remembered():
    machine = sent()
    first = machine.command("o1", OrderCommand.CANCEL)
    assert (first.after.status, first.after.pending, first.cancel) == ("submitted", "none", False)
    taken = machine.apply(report("accepted"))
    assert taken.cancel
    assert machine.apply(fill("e1", 1)).cancel
    assert status_of(machine.command("o1", OrderCommand.CANCEL))[1] == "cancel"
    assert not machine.apply(fill("e2", 1)).cancel


def test_an_abandoned_order_that_appears_is_adopted_and_cancelled():
    machine = at(OrderStatus.ABANDONED)
    step = machine.apply(report("accepted"))
    assert (step.after.status, step.cancel) == ("accepted", True)
    assert [state.status for state in machine.working()] == ["accepted"]


def test_a_stale_pending_cancel_does_not_revive_a_refused_cancel():
    machine = at(OrderStatus.ACCEPTED)
    machine.command("o1", OrderCommand.CANCEL)
    machine.apply(report("cancel_rejected"))
    assert machine.apply(report("pending_cancel")).after.pending == "none"
    assert machine.command("o1", OrderCommand.CANCEL).after.pending == "cancel"
    assert machine.apply(report("pending_cancel")).after.pending == "cancel"


def test_working_is_by_symbol_and_in_order_of_opening():
    machine = OrderStateMachine()
    for name, symbol in (("a", "AAPL"), ("b", "IBM"), ("c", "AAPL")):
        machine.open(order(name, symbol=symbol))
    machine.deny("a")
    assert [state.order.client_order_id for state in machine.working()] == ["b", "c"]
    assert [state.order.client_order_id for state in machine.working("AAPL")] == ["c"]


def test_the_blotter_follows_one_order():
    machine, blotter = OrderStateMachine(), Blotter()
    blotter.update(machine.open(order("o1", 10)))
    blotter.update(machine.open(order("o2", 3, side=Side.SELL)))
    assert (blotter.open_buy_lots("AAPL"), blotter.open_sell_lots("AAPL")) == (10, 3)
    assert (blotter.n_open(), blotter.n_open("AAPL"), blotter.n_open("IBM")) == (2, 2, 0)
    blotter.apply(machine.command("o1", OrderCommand.SEND))
    blotter.apply(machine.apply(report("outcome_unknown")))
    assert blotter.open_buy_lots("AAPL") == 10
    blotter.apply(machine.apply(fill("e1", 4)))
    assert blotter.open_buy_lots("AAPL") == 6
    assert [state.cum_lots for state in blotter.open_orders("AAPL")] == [4, 0]
    blotter.apply(machine.apply(report("canceled", cum_lots=5)))
    assert blotter.open_buy_lots("AAPL") == 1  # one lot is filled and not booked yet
    blotter.apply(machine.apply(fill("e2", 1)))
    blotter.apply(machine.deny("o2"))
    blotter.apply(machine.apply(report("fill", name="foreign")))
    assert (blotter.open_buy_lots("AAPL"), blotter.open_sell_lots("AAPL")) == (0, 0)
    assert (blotter.n_open(), blotter.open_orders(), blotter.open_orders("IBM")) == (0, [], [])


@pytest.fixture
def eager_threads():
    """Let threads take turns every 20 microseconds."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_readers_on_other_threads_see_whole_snapshots():
    """While one thread fills orders lot by lot, readers never see parts that disagree."""
    machine, torn, stop, reads = OrderStateMachine(), [], threading.Event(), [0, 0, 0]

    def read(number):
        while not stop.is_set():
            for state in machine.states()[-20:] + machine.working("AAPL"):
                parts = sum(held.lots for held in state.fills)
                notional = sum(held.lots * held.ticks for held in state.fills)
                whole = state.booked_lots == parts and state.notional == notional
                done = (state.status is OrderStatus.FILLED) == (state.cum_lots == state.order.lots)
                if not (whole and done):
                    torn.append(state)
                reads[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    number = 0
    while number < 60 or (min(reads) < 500 and number < 3000):
        number += 1
        name = f"o{number}"
        machine.open(order(name, 8))
        machine.command(name, OrderCommand.SEND)
        for lot in range(8):
            machine.apply(fill(f"{name}-{lot}", 1, 100 + lot)._replace(client_order_id=name))
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert min(reads) >= 500
    assert all(state.status is OrderStatus.FILLED for state in machine.states())
