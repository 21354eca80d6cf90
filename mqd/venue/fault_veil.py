"""Orders that the venue has and does not show yet: a question by client id gets 404."""

from __future__ import annotations

from mqd.venue.answer import Answer
from mqd.venue.fault_effects import Action, Frame, orders_in, refusal


class Veil:
    """Hides orders by client id, each until an instant: their answers and updates, themselves."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}
        self._frames: list[Frame] = []

    def hide(self, client_order_id: str, until_ns: int) -> None:
        """Hide an order until the venue's time ``until_ns``."""
        self._until[client_order_id] = until_ns

    def answer(self, method: str, path: str, answer: Answer) -> Answer | Action:
        """Return what goes out in place of an answer: a POST of a hidden order gets none."""
        if not self._until or not path.startswith("/v2/orders"):
            return answer
        names = [str(order["client_order_id"]) for order in orders_in(answer.body)]
        if not names or isinstance(answer.body, list) or names[0] not in self._until:
            return answer
        if method == "POST":
            return Action("drop")
        return refusal(404, 40410000, f"order not found for {names[0]}")

    def keeps(self, frame: Frame) -> bool:
        """Keep an update about a hidden order back; False for all others."""
        name = frame.get("data", {}).get("order", {}).get("client_order_id")
        hidden = name in self._until
        if hidden:
            self._frames.append(frame)
        return hidden

    def lift(self, now_ns: int) -> list[Frame]:
        """Show the orders whose time has come, and return what was kept back of them."""
        self._until = {name: until for name, until in self._until.items() if until > now_ns}
        frames, self._frames = self._frames, []
        return [frame for frame in frames if not self.keeps(frame)]
