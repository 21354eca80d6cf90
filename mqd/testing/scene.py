"""A small desk around a real ``RiskManager``: one symbol at a constant price, orders, fills."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from mqd.core.clock import NS_PER_S
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.core.verdict import Approved
from mqd.risk.declare import Rule
from mqd.risk.kill_switch import KillSwitch
from mqd.risk.limits import Limits, LimitValues
from mqd.risk.manager import RiskManager
from mqd.risk.verdict import Refused
from mqd.risk.views import Snapshot, worst_lots

SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))
USD = 10**8
REF_TICKS = 10_000
EQUITY_USD = 10_000
START_NS = 1_704_205_800 * NS_PER_S
DAY = 19_724
WIDE = 1e6
"""A multiplier at which buying power never decides, so that the rule does."""


class Step(NamedTuple):
    """One thing that happens: ``order``, ``fill``, ``cancel``, ``unknown`` or ``wait``.

    ``side`` and ``lots`` belong to an order, ``lots`` to a fill too; ``pick`` an open order
    (modulo their number); ``seconds`` is how long to wait, ``back_s`` how far
    the clock is set back.
    """

    what: str
    side: int = 1
    lots: int = 1
    pick: int = 0
    seconds: float = 0.0
    back_s: float = 0.0


class Scene:
    """Positions, open orders and the manager that judges what comes next."""

    def __init__(
        self,
        rules: Sequence[Rule],
        limits: LimitValues,
        *,
        lots: int = 0,
        kill_switch: KillSwitch | None = None,
    ) -> None:
        wide = limits._replace(multiplier_max=WIDE, buying_power_frac_max=1.0)
        self.manager = RiskManager(
            Limits(account=wide, is_research=True), rules=rules, kill_switch=kill_switch
        )
        self.manager.session(DAY, EQUITY_USD * USD)
        self.lots = lots
        self.open: list[Order] = []
        self.now_ns = START_NS
        self.traded_quanta = 0
        self._n_orders = 0

    def order(self, side: int, lots: int) -> Order:
        """Return the next market order."""
        self._n_orders += 1
        return Order(
            f"o{self._n_orders}", "s", "AAA", Side(side), lots, OrderType.MARKET,
            TimeInForce.DAY, self.now_ns, SCALE,
        )  # fmt: skip

    def open_lots(self, side: int) -> int:
        """Return our own open quantity on one side; unknown orders count."""
        return sum(order.lots for order in self.open if order.side == side)

    def snapshot(self) -> Snapshot:
        """Return the account and the symbol as they stand."""
        px = REF_TICKS * SCALE.tick_lot_quanta
        buys, sells = self.open_lots(1), self.open_lots(-1)
        extra = worst_lots(self.lots, buys, sells) - abs(self.lots)
        return Snapshot(
            now_ns=self.now_ns, scale=SCALE, lots=self.lots, open_buy_lots=buys,
            open_sell_lots=sells, cash_quanta=EQUITY_USD * USD - self.lots * px,
            equity_quanta=EQUITY_USD * USD, gross_quanta=abs(self.lots) * px,
            net_quanta=self.lots * px, ref_ticks=REF_TICKS, ref_ns=self.now_ns, multiplier=WIDE,
            open_gross_quanta=extra * px, open_buy_quanta=buys * px, open_sell_quanta=sells * px,
            session=DAY, n_open_symbol=len(self.open), n_open_account=len(self.open),
            average_volume_lots=10**6, recent_ticks=(REF_TICKS,) * 20,
        )  # fmt: skip

    def ask(self, order: Order) -> Approved | Refused:
        """Return the manager's verdict on an order."""
        return self.manager.check(order, (), self.snapshot())

    def passes(self, order: Order) -> bool:
        """Say whether the manager approves an order."""
        return isinstance(self.ask(order), Approved)

    def fill(self, index: int, lots: int) -> None:
        """Fill an open order, wholly or in part."""
        if not self.open:
            return
        order = self.open.pop(index % len(self.open))
        done = min(lots, order.lots)
        if done < order.lots:
            self.open.append(order._replace(lots=order.lots - done))
        self.lots += order.side * done
        self.tell_fill(order.side, done)

    def tell_fill(self, side: Side, lots: int) -> None:
        """Tell the manager of an execution."""
        value = lots * REF_TICKS * SCALE.tick_lot_quanta
        self.traded_quanta += value
        self.manager.filled("AAA", side, lots, lots, value, self.now_ns, strategy="s")

    def cancel(self, index: int) -> None:
        """End an open order."""
        if self.open:
            self.open.pop(index % len(self.open))
