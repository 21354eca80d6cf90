"""The desk's own books at the prices it knows: what risk, sizing and strategies read."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from mqd.accounting import Ledger
from mqd.core.money import Scale
from mqd.core.position import Account, Position


class Valuation:
    """The ledger marked at the last known closes; ``mark`` gives a symbol's in ticks,
    ``settled`` the cash that the venue holds as settled, in quanta."""

    def __init__(
        self,
        ledger: Ledger,
        scales: dict[str, Scale],
        quantum: Decimal,
        mark: Callable[[str], int],
        settled: Callable[[], int],
    ) -> None:
        self.ledger, self.scales, self.quantum, self.mark = ledger, scales, quantum, mark
        self.settled = settled
        self._lot_value = {symbol: scale.tick_lot_quanta for symbol, scale in scales.items()}

    def lots(self, symbol: str) -> int:
        """Return the signed position in lots."""
        return self.ledger.lots.get(symbol, 0)

    def totals(self) -> tuple[int, int, int]:
        """Return ``(equity, gross, net)`` in quanta."""
        gross = net = 0
        mark, values = self.mark, self._lot_value
        for symbol, lots in self.ledger.lots.items():
            value = lots * mark(symbol) * values[symbol]
            net += value
            gross += value if value > 0 else -value
        return self.ledger.cash + net, gross, net

    def equity(self) -> int:
        """Return cash plus signed market value in quanta."""
        return self.totals()[0]

    def position(self, symbol: str) -> Position:
        """Return one position, flat when there is none."""
        ledger = self.ledger
        return Position(
            symbol, ledger.lots.get(symbol, 0), ledger.cost.get(symbol, 0), self.scales[symbol]
        )

    def account(self) -> Account:
        """Return the account at the last known closes."""
        equity, gross, net = self.totals()
        return Account(self.ledger.cash, equity, gross, net, self.settled(), self.quantum)
