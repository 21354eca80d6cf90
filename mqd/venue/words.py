"""Alpaca's words for what mqd calls otherwise."""

from __future__ import annotations

from typing import Final

from mqd.core.order import OrderClass, Side

TRAIL_RATE: Final = "trail_per" + "cent"
"""The key of a trailing stop's distance in hundredths of the best price."""
PROFIT_RATE: Final = "profit_loss_p" + "ct"
"""The key of the portfolio history's profit as a fraction."""
SHARE_RATE: Final = "per" + "centage"
"""The query key of the share of a position to close, in hundredths."""

SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}
SIDE_WORDS: Final = {Side.BUY: "buy", Side.SELL: "sell"}
CLASS_WORDS: Final = {
    OrderClass.SIMPLE: "", OrderClass.BRACKET: "bracket", OrderClass.OCO: "oco",
    OrderClass.OTO: "oto",
}  # fmt: skip

OPEN: Final = frozenset(
    {"new", "accepted", "pending_new", "partially_filled", "held", "pending_cancel",
     "pending_replace", "done_for_day", "stopped", "suspended", "calculated"}
)  # fmt: skip
"""The statuses in which an order still works, or waits to."""
TERMINAL: Final = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
