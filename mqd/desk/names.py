"""Order ids: a hash of the decision, so that the same run gives the same ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mqd.core.order import Side
from mqd.desk.journal import Journal
from mqd.execution.engine import client_order_id

SIMULATED_ACCOUNT = "sim0"


class OrderNames:
    """Names orders within a run; ``versions`` is each strategy's identity with its parameters,
    ``account`` the label of the account that trades. ``is_taken(id)``: an order has it already,
    as after a restart in the middle of an instant."""

    def __init__(
        self,
        journal: Journal,
        versions: Mapping[str, str],
        account: str = SIMULATED_ACCOUNT,
        is_taken: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self._journal, self._versions, self._account = journal, versions, account
        self._is_taken = is_taken
        self._instant = self._number = 0

    def __call__(self, strategy: str, symbol: str, side: Side, leg: str) -> str:
        """Return the id of the next order of this instant."""
        now = self._journal.now_ns
        if now != self._instant:
            self._instant, self._number = now, 0
        version = self._versions.get(strategy, "")
        while True:
            self._number += 1
            name = client_order_id(
                self._account, strategy, version, symbol, side, now, leg, self._number
            )
            if not self._is_taken(name):
                return name
