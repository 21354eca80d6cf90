"""Laws of order life: arrival order and repetition do not matter, nothing raises, P11."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.order import TERMINAL, OrderStatus, Pending, Side
from mqd.errors import IllegalTransition
from mqd.orders.blotter import Blotter
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.orders.life import driven, fill, order, report, sent


@st.composite
def legal_lives(draw):
    """One order's reports as a venue may send them, and (status, cum_lots, notional) at the end.

    Executions with running cumulative quantities; then perhaps a cancel that is refused, busts
    and corrections of executions, and one end. The answer is computed from the story itself.
    """
    lots = draw(st.integers(1, 40))
    story, live, cum, full = [report("accepted")], {}, 0, False
    for number in range(draw(st.integers(0, 4))):
        left = lots - cum
        if left == 0:
            break
        size = draw(st.integers(1, left))
        cum += size
        full = cum == lots
        ticks = draw(st.integers(50, 60))
        said = draw(st.sampled_from((cum, -1)))
        name = f"e{number}"
        live[name] = (size, ticks)
        story.append(fill(name, size, ticks, whole=full, cum_lots=said, ts_fill=number))
    for name in draw(st.lists(st.sampled_from(sorted(live) or ["none"]), unique=True, max_size=2)):
        if name in live:
            _void(draw, story, live, name)
    cancel = draw(st.sampled_from(("none", "pending", "refused")))
    if cancel != "none":
        story.append(report("pending_cancel"))
    if cancel == "refused":
        story.append(report("cancel_rejected"))
    end = None if full else draw(st.sampled_from((None, "canceled", "expired", "replaced")))
    if end:
        story.append(report(end))
    booked = sum(size for size, _ in live.values())
    status = end or ("partially_filled" if booked else "accepted")
    if full:
        status = "filled" if booked == lots else "canceled"
    waits = cancel == "pending" and status in ("accepted", "partially_filled")
    notional = sum(size * ticks for size, ticks in live.values())
    return lots, story, (status, "cancel" if waits else "none", booked, notional)


def _void(draw, story, live, name):
    """Bust or correct one execution (a correction never adds lots here)."""
    size, ticks = live.pop(name)
    if draw(st.booleans()):
        story.append(report("bust", ref_execution_id=name))
        return
    new = draw(st.integers(1, size))
    live[f"{name}c"] = (new, ticks + 1)
    story.append(
        report(
            "correct",
            ref_execution_id=name,
            execution_id=f"{name}c",
            last_lots=new,
            last_ticks=ticks + 1,
            ts_fill=7,
        )
    )


def ended(machine):
    state = machine.state("o1")
    return state.status, state.pending, state.cum_lots, state.notional


@settings(max_examples=150)
@given(legal_lives(), st.data())
def test_any_order_and_any_repetition_of_a_legal_life_end_in_the_same_state(life, data):
    lots, story, answer = life
    told = driven(lots, *story)
    assert ended(told) == answer
    repeated = story + data.draw(st.lists(st.sampled_from(story), max_size=4))
    shuffled = data.draw(st.permutations(repeated))
    again = driven(lots, *shuffled)
    assert ended(again) == answer
    assert again.state("o1") == told.state("o1")
    assert again.quarantined == told.quarantined


@settings(max_examples=100)
@given(legal_lives(), st.data())
def test_the_steps_of_a_life_add_up_to_its_end(life, data):
    """What a ledger books step by step (fills less voided ones) is what the state says."""
    lots, story, _ = life
    machine = sent(lots)
    booked = notional = 0
    for told in data.draw(st.permutations(story)):
        step = machine.apply(told)
        for sign, execution in ((1, step.fill), (-1, step.voided)):
            if execution:
                booked += sign * execution.lots
                notional += sign * execution.lots * execution.ticks
        assert (booked, notional) == (step.after.booked_lots, step.after.notional)


words = st.sampled_from(["", "o1", "o2", "e1", "e2", "x"])
numbers = st.integers(-3, 12) | st.integers()
reports = st.builds(
    ExecutionReport,
    kind=st.sampled_from(ReportKind),
    client_order_id=st.sampled_from(["o1", "o2", "stranger", ""]),
    symbol=st.sampled_from(["AAPL", "IBM", ""]),
    ts_ns=numbers,
    venue_order_id=words,
    execution_id=words,
    last_lots=numbers,
    last_ticks=numbers,
    cum_lots=numbers,
    fee_quanta=numbers,
    ts_fill=numbers,
    text=words,
    status=st.sampled_from(["", "new", "filled", "canceled", "held", "gone mad", "stopped"]),
    ref_execution_id=words,
    replaced_by=words,
)
commands = st.tuples(st.sampled_from(OrderCommand), st.sampled_from(["o1", "o2"]))


def consistent(state):
    """Assert what holds in every state whatever was reported."""
    assert state.pending is Pending.NONE or state.status in (
        OrderStatus.ACCEPTED,
        OrderStatus.PARTIALLY_FILLED,
    )
    assert state.cum_lots >= state.booked_lots == sum(fill.lots for fill in state.fills)
    assert state.status is not OrderStatus.FILLED or state.cum_lots >= state.order.lots
    assert state.cum_lots <= state.order.lots or state.quarantined
    assert state.is_terminal == (state.status in TERMINAL)
    assert len({fill.execution_id for fill in state.fills}) == len(state.fills)


@settings(max_examples=250)
@given(st.lists(reports | commands, max_size=25))
def test_no_report_raises_and_the_blotter_never_goes_negative(steps):
    """P11: worst-case sums are the sum over orders, never negative, and 0 when all is over."""
    machine, blotter = OrderStateMachine(), Blotter()
    blotter.update(machine.open(order("o1", 10, "AAPL", Side.BUY)))
    blotter.update(machine.open(order("o2", 7, "IBM", Side.SELL)))
    executions = set()
    for step in steps:
        if isinstance(step, ExecutionReport):
            taken = machine.apply(step)
            blotter.apply(taken)
            if taken.fill:
                assert (step.client_order_id, taken.fill.execution_id) not in executions
                executions.add((step.client_order_id, taken.fill.execution_id))
        else:
            command, name = step
            try:
                blotter.apply(machine.command(name, command))
            except IllegalTransition:
                continue
        for state in machine.states():
            consistent(state)
        sums = {
            name: sum(s.worst_case_lots for s in machine.states() if s.order.symbol == name)
            for name in ("AAPL", "IBM")
        }
        assert blotter.open_buy_lots("AAPL") == sums["AAPL"] >= 0
        assert blotter.open_sell_lots("IBM") == sums["IBM"] >= 0
        assert blotter.open_sell_lots("AAPL") == blotter.open_buy_lots("IBM") == 0
        if all(s.is_terminal and not s.provisional_lots for s in machine.states()):
            assert sums == {"AAPL": 0, "IBM": 0}
            assert blotter.n_open() == 0


@settings(max_examples=80)
@given(legal_lives(), st.data())
def test_exposure_never_falls_below_what_may_still_reach_the_ledger(life, data):
    """Booked lots plus the worst case cover every lot that the rest of the story books."""
    lots, story, _ = life
    machine, blotter = sent(lots), Blotter()
    blotter.update(machine.state("o1"))
    told = [entry for entry in story if entry.kind not in (ReportKind.BUST, ReportKind.CORRECT)]
    order_of_arrival = data.draw(st.permutations(told))
    final = driven(lots, *told).state("o1")
    for entry in order_of_arrival:
        blotter.apply(machine.apply(entry))
        state = machine.state("o1")
        if not state.is_terminal:
            assert state.booked_lots + blotter.open_buy_lots("AAPL") >= final.booked_lots
