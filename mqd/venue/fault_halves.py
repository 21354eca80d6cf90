"""Fills that were told as two executions: the account's activities tell them so too."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from mqd.venue.answer import Answer
from mqd.venue.fault_effects import Frame, in_two

ACTIVITIES = "/v2/account/activities"
Entry = dict[str, Any]


class Halves:
    """Remembers which fills were split, by the venue's order id and the quantity after them."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, Decimal], Decimal] = {}

    def told(self, frame: Frame) -> list[Frame]:
        """Return a fill as two updates, where it can be split, and remember that it was."""
        parts = in_two(frame)
        if len(parts) > 1:
            order = frame["data"]["order"]
            key = str(order["id"]), Decimal(str(order["filled_qty"]))
            self._first[key] = Decimal(parts[0]["data"]["qty"])
        return parts

    def answer(self, path: str, answer: Answer) -> Answer:
        """Return an answer about activities with the fills in two that were told so."""
        if not self._first or not path.startswith(ACTIVITIES) or not isinstance(answer.body, list):
            return answer
        return answer._replace(body=[part for one in answer.body for part in self._parts(one)])

    def _parts(self, entry: Entry) -> Iterator[Entry]:
        """Yield an entry, or its two parts: the second keeps the id and the commission."""
        cum = entry.get("cum_qty")
        first = self._first.get((str(entry.get("order_id")), Decimal(str(cum or 0))))
        if first is None:
            yield entry
            return
        rest = Decimal(entry["qty"]) - first
        leaves = Decimal(entry["leaves_qty"]) + rest
        part = {**entry, "id": f"{entry['id']}-1", "type": "partial_fill", "qty": f"{first:f}"}
        part |= {"cum_qty": f"{Decimal(str(cum)) - rest:f}", "leaves_qty": f"{leaves:f}"}
        part["order_status"] = "partially_filled"
        part.pop("commission", None)
        yield part
        yield {**entry, "qty": f"{rest:f}"}
