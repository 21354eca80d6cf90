"""Order ids: a hash of the decision, so that the same run gives the same ids."""

from __future__ import annotations

from collections.abc import Mapping

from mqd.core.order import Side
from mqd.desk.journal import Journal
from mqd.execution.engine import client_order_id

SIMULATED_ACCOUNT = "sim0"


class OrderNames:
    """Names orders within a run; ``versions`` is each strategy's identity with its parameters,
    ``account`` the label of the account that trades."""

    def __init__(
        self, journal: Journal, versions: Mapping[str, str], account: str = SIMULATED_ACCOUNT
    ) -> None:
        self._journal, self._versions, self._account = journal, versions, account
        self._instant = self._number = 0

    def __call__(self, strategy: str, symbol: str, side: Side, leg: str) -> str:
        """Return the id of the next order of this instant."""
        now = self._journal.now_ns
        if now != self._instant:
            self._instant, self._number = now, 0
        self._number += 1
        version = self._versions.get(strategy, "")
        return client_order_id(
            self._account, strategy, version, symbol, side, now, leg, self._number
        )
