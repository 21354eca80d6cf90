"""A rehearsal without sockets, threads or waiting: venue, adapter and desk in one thread.

The venue is its core, the adapter's session gets a transport, trade updates and bars are handed
over as they are told, the control path is called. So a thousand rehearsals with faults and
killed desks take minutes, and each repeats exactly: time is the bars' own.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

import requests
import stamina
from requests.adapters import BaseAdapter

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.history import AlpacaHistory
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import READ_ATTEMPTS, AlpacaSession
from mqd.core.clock import SimulatedClock
from mqd.core.money import Scale
from mqd.core.protocols import Clock
from mqd.desk.journal import Journal
from mqd.event_bus import OrderEventBus
from mqd.kernel.settings import Settings
from mqd.live.books import OpenBooks
from mqd.live.builder import DeskPlan
from mqd.live.control import Control
from mqd.live.folder import StateFolder
from mqd.live.link import Link, OnData, VenueAddress
from mqd.live.paced_run import PacedDone, PacedRun
from mqd.log_reader import read
from mqd.market_data.bars import Bars
from mqd.transaction_log import TransactionLog, new_run_folder
from mqd.venue.answer import AccountSpec, Answer
from mqd.venue.errors import PhaseWrong
from mqd.venue.fault_effects import Frame
from mqd.venue.faults import FaultPlan
from mqd.venue.venue import Unanswered, Venue

TYPED: Final = "kept-in-memory"
"""As long as a word that no answer holds: the adapter takes secrets out of what it reads."""
ACCOUNT: Final = AccountSpec("3c1f9f5e-0d0c-5f57-9d5e-6d7f6f6c7a10", "PA0000001", (("PK", TYPED),))
KEYS: Final = Keys(Secret("PK"), Secret(TYPED))
HEADERS: Final = {"apca-api-key-id": "PK", "apca-api-secret-key": TYPED}
ADDRESS: Final = VenueAddress.local(1, KEYS)
CONNECTS_MAX: Final = 20


class Killed(BaseException):
    """The desk dies at this very call: no ``except Exception`` of ours may hold it up."""


class Fate:
    """When a desk dies: at its ``at``-th call, before the venue carries it out or after.

    ``at=0`` lets it live. Calls are requests and phases of the control path.
    """

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self._left, self._after = at, after

    def call(self, carry_out: Callable[[], Any]) -> Any:
        """Carry out a call, unless the desk dies before; raise ``Killed`` when it dies."""
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        said = carry_out()
        if self._left == 0:
            raise Killed
        return said


class MemoryVenue:
    """A venue of one account in this process, and what stands for its two sockets.

    ``before(method, path, query)`` and ``after(…, status)`` are told of each call; a phase of the
    control path has the method STEP. A socket that a fault has cut is back at the next step; what
    was told meanwhile is lost.
    """

    def __init__(self, bars: Bars, settings: Settings, faults: FaultPlan | None = None) -> None:
        self.venue = Venue(bars, settings, accounts=[ACCOUNT], faults=faults)
        self.fate = Fate()
        self.before: Callable[[str, str, Mapping[str, str]], None] = lambda *_: None
        self.after: Callable[[str, str, Mapping[str, str], int], None] = lambda *_: None
        self._on_update: Callable[[dict[str, Any]], None] | None = None
        self._on_data: OnData | None = None
        self._up = {"trading": False, "data": False}
        self.venue.on_update(self._tell)
        self.venue.on_data(self._emit)
        self.venue.cut_sockets = self._cut

    # --- sockets -----------------------------------------------------------------------------

    def listen(self, on_update: Callable[[dict[str, Any]], None], on_data: OnData) -> None:
        """Let a desk listen to both streams; another one that listened does not any more."""
        self._on_update, self._on_data = on_update, on_data
        for kind in self._up:
            self.connect(kind)

    def hang_up(self) -> None:
        """The desk is gone."""
        self._on_update = self._on_data = None
        self._cut()

    def connect(self, kind: str) -> None:
        """Open a socket anew, again where it is refused, as the adapter does after a pause."""
        for _ in range(CONNECTS_MAX):
            if self.venue.faults.connect(kind) is None:
                self._up[kind] = True
                return

    def _cut(self) -> None:
        self._up = dict.fromkeys(self._up, False)

    def back(self) -> None:
        """Open the sockets that were cut."""
        for kind, up in self._up.items():
            if not up and self._on_update is not None:
                self.connect(kind)

    def _tell(self, _account: str, frame: Frame, _number: int) -> None:
        if self._on_update is not None and self._up["trading"]:
            text = json.dumps(frame["data"], default=str)
            self._on_update(json.loads(text, parse_float=Decimal))

    def _emit(self, messages: list[dict[str, Any]]) -> None:
        sent = self.venue.faults.data(messages)
        if sent and self._on_data is not None and self._up["data"]:
            self._on_data(sent)

    # --- REST --------------------------------------------------------------------------------

    def ask(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what a GET says, past all faults: for those who compare."""
        faults, self.venue.faults = self.venue.faults, FaultPlan()
        try:
            words = {name: _word(value) for name, value in (query or {}).items()}
            answer = self.venue.handle("GET", path, words, None, HEADERS)
        finally:
            self.venue.faults = faults
        return json.loads(json.dumps(answer.body, default=str), parse_float=Decimal)

    def transport(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        _headers: Mapping[str, str],
    ) -> tuple[int, str, Mapping[str, str]]:
        """Be the transport of an ``AlpacaSession``; raise ``OSError`` where nothing comes back."""
        words = None if body is None else json.loads(body, parse_float=Decimal)
        self.before(method, path, query)
        try:
            answer: Answer = self.fate.call(
                lambda: self.venue.handle(method, path, query, words, HEADERS)
            )
        except Unanswered as hung:
            raise ConnectionResetError(str(hung)) from hung
        self.after(method, path, query, answer.status)
        return answer.status, _text(answer.body), answer.headers


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(body: object) -> str:
    if body is None or isinstance(body, str):
        return body or ""
    return json.dumps(body, default=str)


class MemoryControl(Control):
    """The control path of a venue in this process."""

    def __init__(self, memory: MemoryVenue) -> None:
        super().__init__(1, "")
        self._memory, self._venue = memory, memory.venue

    def _call(self, method: str, name: str) -> tuple[int, bytes]:
        if method == "GET":
            return 200, json.dumps(self._venue.state()).encode()
        self._memory.before("STEP", name, {})
        try:
            said = self._memory.fate.call(getattr(self._venue, name))
        except PhaseWrong as wrong:
            return 409, str(wrong).encode()
        if name == "begin":
            self._memory.back()
        return 200, json.dumps(said).encode()


class _Adapter(BaseAdapter):
    """Lets a ``requests`` session reach a venue in this process."""

    def __init__(self, memory: MemoryVenue) -> None:
        super().__init__()
        self._memory = memory

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Return the venue's answer; raise ``requests.ConnectionError`` where there is none."""
        place = urlsplit(str(request.url))
        query = dict(parse_qsl(place.query))
        try:
            told = self._memory.transport(str(request.method), place.path, query, None, {})
        except OSError as error:
            raise requests.ConnectionError(str(error)) from error
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = told[0], request, str(request.url)
        answer.headers.update(told[2])
        answer.raw, answer.encoding = io.BytesIO(told[1].encode()), "utf-8"
        return answer

    def close(self) -> None:
        """Do nothing: there is no connection."""


class MemoryLink(Link):
    """A line to a venue in this process."""

    def __init__(
        self,
        memory: MemoryVenue,
        scales: Mapping[str, Scale],
        quantum: Decimal,
        clock: Clock,
        on_data: OnData,
    ) -> None:
        self.address, self._memory, self._data = ADDRESS, memory, on_data
        self.session = AlpacaSession(
            ADDRESS.trading_url, KEYS, SimulatedClock(), transport=memory.transport
        )
        self.connector = AlpacaBrokerConnector(self.session, scales, clock, quantum)

    def open(self, symbols: Sequence[str], timeframe_ns: int, *, prints: bool = False) -> None:
        """Listen to both streams; they bring whatever the venue has."""
        del symbols, timeframe_ns, prints
        self._memory.listen(self.connector.take_update, self._data)

    def reopen(self, kind: str, _why: str) -> None:
        """Open a socket anew."""
        self._memory.connect(kind)

    def close(self) -> None:
        """Hang up."""
        self._memory.hang_up()
        self.session.close()

    def history(self) -> AlpacaHistory:
        """Return the provider of this venue's history."""
        history = AlpacaHistory(
            ADDRESS.data_url, KEYS.key_id, KEYS.secret, SimulatedClock(), wait=lambda _s: None
        )
        for client in (history._stocks, history._actions):
            client._session.mount("http://", _Adapter(self._memory))
        return history


class MemoryDesks:
    """Desks over one log, one after the other, as a state folder sees them; see ``run``."""

    def __init__(
        self, plan: DeskPlan, memory: MemoryVenue, path: Path, run: type[PacedRun] = PacedRun
    ) -> None:
        self._plan, self._memory, self.path, self._run = plan, memory, path, run
        new_run_folder(path)
        self._folder = StateFolder(path, -1, lambda _path: 1 << 40)
        self.n_lives = 0

    def run(self, fate: Fate) -> PacedDone | None:
        """Let a desk begin, or go on with the log; None when it died.

        Reads that fail are repeated without a pause. Raises what a paced run raises.
        """
        stamina.set_testing(testing=True, attempts=READ_ATTEMPTS)
        self.n_lives += 1
        log, resumed = self._log()
        self._memory.fate = fate
        books = OpenBooks(Journal(log, None, OrderEventBus()), resumed)
        memory = self._memory

        def connect(
            _address: VenueAddress,
            scales: Mapping[str, Scale],
            quantum: Decimal,
            clock: Clock,
            *,
            on_data: OnData,
        ) -> Link:
            return MemoryLink(memory, scales, quantum, clock, on_data)

        try:
            run = self._run(
                self._plan, ADDRESS, MemoryControl(memory), self._folder, books,
                patience_s=0.0, connect=connect,
            )  # fmt: skip
            done = run.run()
        except Killed:
            log._release()  # the log of a process that is gone: not sealed
            return None
        finally:
            self._memory.fate = Fate()
            stamina.set_testing(testing=False)
        log.close("done")
        return done

    def _log(self) -> tuple[TransactionLog, bool]:
        header = {"run_id": "memory", "mode": "rehearsal"}
        if not self._folder.has_log:
            return TransactionLog.create(self.path, header, durable=False, die=_die), False
        log = TransactionLog.resume(self.path, header, durable=False, die=_die)
        return log, any(record.kind == "cash" for record in read(self.path))


def _die(_file: str, error: OSError) -> NoReturn:
    raise error
