"""The rehearsal's control path: the venue goes on when the desk has acknowledged a phase.

It lies outside Alpaca's interface and exists on the local venue alone.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple

from mqd.errors import MqdError

TIMEOUT_S = 30.0


class VenueGone(MqdError):
    """The rehearsal's venue does not answer on its control path."""

    def __init__(self, port: int, why: str) -> None:
        super().__init__(f"The venue on port {port} does not answer ({why}). Start it again.")


class Begun(NamedTuple):
    """A step has begun; ``done`` says that there is none."""

    done: bool
    ts_close: int
    opens_ns: int
    updates: int
    activities: int


class Said(NamedTuple):
    """What the venue has told so far: trade updates, account activities, bar messages."""

    updates: int
    activities: int
    bars: int
    ends_session: bool


class Stand(NamedTuple):
    """Where the venue stands: its clock, and the step whose ``phase`` was the last one taken."""

    now_ns: int
    updates: int
    bars: int
    phase: str
    ts_close: int
    steps_left: int

    @property
    def over(self) -> bool:
        """True when the last step is closed."""
        return self.steps_left == 0 and self.phase == "close"


class Control:
    """One connection to the control path of a venue on this machine."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def begin(self) -> Begun:
        """Begin the next step. A step that has begun (its answer was lost) counts as begun."""
        said = self._ask("POST", "begin", over_is_well=True)
        if said.get("done"):
            return Begun(True, 0, 0, 0, 0)
        opens_ns = said.get("opens_ns", said.get("now_ns", 0))
        return Begun(False, said["ts_close"], opens_ns, said["updates"], said["activities"])

    def phase(self, name: str) -> Said:
        """Let the venue take the phase ``open``, ``within`` or ``close``; one that it has taken
        before (the desk was restarted) counts as taken."""
        return _said(self._ask("POST", name, over_is_well=True))

    def state(self) -> Said:
        """Return what the venue has told so far."""
        return _said(self._ask("GET", "state"))

    def stand(self) -> Stand:
        """Return where the venue stands."""
        said = self._ask("GET", "state")
        left = said["n_steps"] - said["step"] - 1
        return Stand(
            said["now_ns"], said["updates"], said["bars"], said["phase"], said["ts_close"], left
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, name: str, *, over_is_well: bool = False) -> dict[str, Any]:
        try:
            reply, text = self._call(method, name)
        except (OSError, http.client.HTTPException):
            self._connection.close()  # idle for too long: the venue hung up
            reply, text = self._again(method, name)
        if reply == 409 and over_is_well:
            return self._ask("GET", "state")
        if reply != 200:
            raise VenueGone(self._port, f"HTTP {reply} on {name}: {text[:200]!r}")
        said: dict[str, Any] = json.loads(text)
        return said

    def _again(self, method: str, name: str) -> tuple[int, bytes]:
        try:
            return self._call(method, name)
        except (OSError, http.client.HTTPException) as error:
            raise VenueGone(self._port, str(error) or type(error).__name__) from error

    def _call(self, method: str, name: str) -> tuple[int, bytes]:
        headers = {"X-Control-Token": self._token}
        self._connection.request(method, f"/_control/{name}", headers=headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read()


def _said(fields: dict[str, Any]) -> Said:
    return Said(
        fields["updates"], fields["activities"], fields.get("bars", 0),
        bool(fields.get("ends_session", False)),
    )  # fmt: skip
