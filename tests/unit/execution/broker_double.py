"""A broker whose answers a test writes down."""

from decimal import Decimal

from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.core.position import Account, Position

SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))


def order(name="o1", lots=10, symbol="AAPL", side=Side.BUY, **fields):
    """Return a market order."""
    terms = {"type": OrderType.MARKET, "time_in_force": TimeInForce.DAY} | fields
    return Order(name, "s", symbol, side, lots, decided_ns=1, scale=SCALE, **terms)


def position(symbol, lots, lot_quanta=100):
    """Return a position that cost ``lot_quanta`` a lot."""
    return Position(symbol, lots, lots * lot_quanta, SCALE)


def account(cash=1_000_000, equity=1_000_000):
    """Return an account, in quanta."""
    return Account(cash, equity, 0, 0, cash, SCALE.quantum)


class ScriptedBroker:
    """Records commands; answers what it was given."""

    def __init__(self, positions=(), orders=(), account_answer=None, reports=()):
        self.sent = []
        self._positions = {held.symbol: held for held in positions}
        self._orders = list(orders)
        self._account = account_answer or account()
        self._reports = list(reports)

    def submit(self, order, legs=()):
        self.sent.append(("submit", order, tuple(legs)))

    def cancel(self, client_order_id):
        self.sent.append(("cancel", client_order_id))

    def replace(self, client_order_id, order):
        self.sent.append(("replace", client_order_id, order))

    def reports(self):
        reports, self._reports = self._reports, []
        return reports

    def open_orders(self):
        return list(self._orders)

    def positions(self):
        return dict(self._positions)

    def account(self):
        return self._account
