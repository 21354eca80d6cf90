"""Short words for orders and reports, shared by the tests of order life."""

from decimal import Decimal

from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.money import Scale
from mqd.core.order import Order, OrderStatus, OrderType, Pending, Side, TimeInForce
from mqd.orders.state import OrderState, Transition
from mqd.orders.state_machine import OrderStateMachine

SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))


def order(name="o1", lots=10, symbol="AAPL", side=Side.BUY):
    """Return a market order."""
    return Order(name, "s", symbol, side, lots, OrderType.MARKET, TimeInForce.DAY, 1, SCALE)


def report(kind, name="o1", symbol="AAPL", **fields):
    """Return a report about an order."""
    return ExecutionReport(ReportKind(kind), name, symbol, 5, **fields)


def fill(execution_id, lots, ticks=100, *, whole=False, **fields):
    """Return a PARTIAL_FILL, or a FILL when ``whole``."""
    kind = ReportKind.FILL if whole else ReportKind.PARTIAL_FILL
    return report(kind, execution_id=execution_id, last_lots=lots, last_ticks=ticks, **fields)


def sent(lots=10, name="o1", symbol="AAPL", side=Side.BUY):
    """Return a machine with one SUBMITTED order."""
    machine = OrderStateMachine()
    machine.open(order(name, lots, symbol, side))
    machine.command(name, OrderCommand.SEND)
    return machine


def driven(lots, *steps, name="o1"):
    """Return a machine with one sent order after these commands and reports."""
    machine = sent(lots, name)
    for step in steps:
        if isinstance(step, OrderCommand):
            machine.command(name, step)
        else:
            machine.apply(step)
    return machine


REACH = {
    OrderStatus.SUBMITTED: [],
    OrderStatus.UNKNOWN: [report("outcome_unknown")],
    OrderStatus.ACCEPTED: [report("accepted")],
    OrderStatus.PARTIALLY_FILLED: [report("accepted"), fill("e1", 4)],
    OrderStatus.FILLED: [report("accepted"), fill("e1", 4), fill("e2", 6, whole=True)],
    OrderStatus.CANCELED: [report("accepted"), report("canceled")],
    OrderStatus.EXPIRED: [report("accepted"), report("expired")],
    OrderStatus.REJECTED: [report("rejected")],
    OrderStatus.REPLACED: [report("accepted"), report("replaced", replaced_by="o2")],
    OrderStatus.ABANDONED: [report("outcome_unknown"), report("not_found")],
}


def at(status: OrderStatus, pending: Pending = Pending.NONE) -> OrderStateMachine:
    """Return a machine whose order o1 of 10 lots was driven to a state by real events."""
    if status in (OrderStatus.INTENT, OrderStatus.DENIED):
        machine = OrderStateMachine()
        machine.open(order())
        if status is OrderStatus.DENIED:
            machine.deny("o1")
        return machine
    machine = driven(10, *REACH[status])
    if pending is Pending.CANCEL:
        machine.command("o1", OrderCommand.CANCEL)
    elif pending is Pending.REPLACE:
        machine.apply(report("pending_replace"))
    state = machine.state("o1")
    assert (state.status, state.pending) == (status, pending)
    return machine


def status_of(step: OrderState | Transition) -> tuple[str, str, int]:
    """Return (status, pending, cum_lots) of a snapshot, or of the one after a step."""
    state = step.after if isinstance(step, Transition) else step
    return state.status.value, state.pending.value, state.cum_lots
