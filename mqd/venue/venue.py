"""The venue's core: accounts over simulated brokers, driven step by step. No web framework.

A step is what the replay's desk does with its simulated broker, phase by phase: ``begin``
(expiry, corporate actions), ``open`` (fills at the open; as often as asked), ``within``,
``close`` (on-close orders, expiry, the session's charges; the bars go out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mqd.core.instrument import AssetClass
from mqd.core.money import to_units
from mqd.desk.market import Market
from mqd.desk.simulated import simulated_broker
from mqd.execution.acceptance import Acceptance
from mqd.execution.simulated_broker import SimulatedBroker
from mqd.kernel.settings import Settings, scales_of
from mqd.market_data.bars import Bars
from mqd.venue.access import FORBIDDEN, UNAUTHORIZED, accounts_of, credentials, scope_of
from mqd.venue.answer import AccountSpec, Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import PhaseWrong
from mqd.venue.fault_effects import Action
from mqd.venue.faults import FaultPlan
from mqd.venue.limits import RateLimit
from mqd.venue.market_data import MarketData
from mqd.venue.market_tape import bar_of
from mqd.venue.routes import Routes
from mqd.venue.scene import Scene
from mqd.venue.signs import HaltSigns, bands
from mqd.venue.submit import OrderDesk
from mqd.venue.text import stamp, uuid_of

OnUpdate = Callable[[str, dict[str, Any], int], None]
OnData = Callable[[list[dict[str, Any]]], None]


class Unanswered(Exception):
    """A fault leaves a request without an answer: the caller sees its connection hang or end.

    ``action`` says how; whether the request was carried out, the caller cannot know.
    """

    def __init__(self, action: Action) -> None:
        self.action = action
        super().__init__(f"no answer: {action.kind}")


class Venue:
    """An Alpaca-compatible venue over ``bars``.

    ``accounts`` start with ``settings.cash`` each. ``refuses_unpayable``, ``keeps_hours``: see
    ``OrderDesk``.
    ``rate_max``: requests a minute of the venue's time and account, None for no limit.
    ``plan`` of market data: "paid", or "free": no recent SIP data, 30 symbols of trades, quotes.
    Single-threaded: every call comes from one thread. Raises what ``scales_of`` raises.
    """

    def __init__(
        self,
        bars: Bars,
        settings: Settings,
        *,
        accounts: Sequence[AccountSpec],
        faults: FaultPlan | None = None,
        refuses_unpayable: bool = False,
        rate_max: int | None = None,
        plan: str = "paid",
        keeps_hours: bool = False,
    ) -> None:
        scales, quantum = scales_of(bars, settings.cash)
        self.bars, self.settings = bars, settings
        self.market = Market(bars, scales, settings.fills.participation_frac)
        self.scene = Scene(bars, self.market, scales, settings.account)
        self.faults = faults or FaultPlan()
        self.data = MarketData(bars, plan)
        self.step = -1
        self.n_bars = self._n_requests = 0
        self.banded: set[str] = set()  # their price bands are told by hand
        self.denials: list[int] = []  # HTTP statuses of the sockets' next handshakes
        self.cut_sockets: Callable[[], None] = lambda: None
        self._phase = "close"
        self._on_update: list[OnUpdate] = []
        self._on_data: list[OnData] = []
        self._halts = HaltSigns(settings.fills.halts)
        self._limit = RateLimit(rate_max)
        cash_quanta = to_units(settings.cash, quantum, "cash")
        self.books: dict[str, AccountBook] = {}
        for spec in accounts:
            broker = simulated_broker(bars, self.market, settings, cash_quanta, quantum)
            self._wake(broker)
            self.books[spec.id] = AccountBook(
                spec, broker, self.scene, settings.cash, self._tell
            )  # fmt: skip
        self._keys = accounts_of(accounts)
        doorman = Acceptance(
            self.market.tapes, AssetClass(self.scene.asset_class), self.market.session_closes,
            self.market.session_opens,
        )  # fmt: skip
        desk = OrderDesk(
            self.scene, doorman, refuses_unpayable=refuses_unpayable, keeps_hours=keeps_hours
        )
        self._routes = Routes(self, desk, refuses_unpayable=refuses_unpayable)

    def _wake(self, broker: SimulatedBroker) -> None:
        """Tell a broker the first instant: orders may come before the first step."""
        nowhere = [-1] * len(self.market.symbols)
        broker.begin(-1, self.market.starts_ns, nowhere, nowhere)

    # --- who listens -------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """The venue's instant, ns UTC."""
        return self.scene.now_ns

    @now_ns.setter
    def now_ns(self, now_ns: int) -> None:
        """Move the venue's clock."""
        self.scene.now_ns = now_ns

    def on_update(self, callback: OnUpdate) -> None:
        """Call ``callback(account id, frame, running number)`` for every trade update."""
        self._on_update.append(callback)

    def on_data(self, callback: OnData) -> None:
        """Call ``callback(messages)`` with the bars of every step that closes."""
        self._on_data.append(callback)

    def _tell(self, account_id: str, frame: dict[str, Any], number: int) -> None:
        for sent in self.faults.updates(frame):
            self._send(account_id, sent, number)

    def _send(self, account_id: str, frame: dict[str, Any], number: int) -> None:
        for callback in self._on_update:
            callback(account_id, frame, number)

    # --- REST --------------------------------------------------------------------------------

    def authorized(self, key_id: str, secret: str) -> AccountBook | None:
        """Return the account of a pair of keys, None for a wrong one."""
        account_id = self._keys.get((key_id, secret))
        return None if account_id is None else self.books[account_id]

    def account_id(self, key_id: str, secret: str) -> str | None:
        """Return the id of the account of a pair of keys, None for a wrong one."""
        return self._keys.get((key_id, secret))

    def handle(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        """Answer a request; raise ``Unanswered`` where a fault leaves it without an answer."""
        done = self.exchange(method, path, query, body, headers)
        if isinstance(done, Answer):
            return done
        if done.answer is None:
            raise Unanswered(done)
        return done.answer

    def exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Answer | Action:
        """Answer a request, or say what a fault does with its connection instead."""
        book = self.authorized(*credentials(headers))
        if book is None:
            return Answer(401, UNAUTHORIZED)
        over = self._limit.take(book.spec.id, self.now_ns)
        if over is not None:
            return over
        action = self.faults.rest_before(method, path, body, self.now_ns)
        if action is not None and action.kind == "answer" and action.answer is not None:
            return action.answer
        if action is not None:
            return action
        answer = self._answer(book, method, path, query, body)
        self._n_requests += 1
        headers_out = self._limit.headers(book.spec.id, self.now_ns)
        headers_out["X-Request-ID"] = uuid_of("request", self._n_requests)
        answer = answer._replace(headers={**answer.headers, **headers_out})
        return self._after(method, path, answer)

    def _answer(
        self,
        book: AccountBook,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Answer:
        if method == "GET" and path.startswith(("/v2/stocks/", "/v1/")):
            if "data" not in book.spec.scopes:
                return Answer(403, FORBIDDEN)
            return self.data.handle(path, query, self.now_ns)
        if scope_of(method, path) not in book.spec.scopes | {""}:
            return Answer(403, FORBIDDEN)
        return self._routes.answer(book, method, path, query, body)

    def _after(self, method: str, path: str, answer: Answer) -> Answer | Action:
        done = self.faults.rest_after(method, path, answer)
        if isinstance(done, Action) and done.kind == "answer" and done.answer is not None:
            return done.answer
        return done

    # --- steps -------------------------------------------------------------------------------

    @property
    def first(self) -> AccountBook:
        """The first account: the one that the control path tells of."""
        return next(iter(self.books.values()))

    def begin(self) -> dict[str, Any]:
        """Begin the next step; ``{"done": True}`` after the last one."""
        if self._phase != "close":
            raise PhaseWrong("begin", f"step {self.step} is not closed")
        if self.step + 1 >= self.market.n_steps:
            for frame in self.faults.over():
                self._send(self.first.spec.id, frame, self.first.n_updates)
            return {"done": True}
        self.step, self._phase = self.step + 1, "begin"
        market, step = self.market, self.step
        now = market.ts_close[step]
        new_session = step == 0 or market.day[step] != market.day[step - 1]
        market.begin(step)
        self.scene.enter(step)
        rows, last_rows = market.present_rows, market.last_rows(step)
        self.pass_time(opens_of(market, rows, now))
        for book in self.books.values():
            if new_session:
                book.broker.account_book.open_session(market.day[step])
            book.broker.begin(step, now, rows, last_rows)
            self.now_ns = book.broker.opens_ns
            book.hear()
            for action in market.actions.get(step, ()):
                book.act(action)
            book.wake()
        self.publish(self._halts.at(self.now_ns))
        self._misbehave()
        return {"done": False, "step": step, "ts_close": now, "opens_ns": self.now_ns, **self._told}

    def pass_time(self, now_ns: int) -> None:
        """Move the venue's clock between steps; end the orders whose own hour comes."""
        before = self.now_ns
        for book in self.books.values():
            book.end_due(now_ns)
            self.now_ns = before
        self.now_ns = now_ns
        if not self.scene.is_open:
            for book in self.books.values():
                book.broker.wait(now_ns)

    def open(self) -> dict[str, Any]:
        """Fill what fills at the open; may be asked again after more orders."""
        self._enter("open", ("begin", "open"))
        for book in self.books.values():
            if book.broker.has_resting:
                book.broker.match_open()
                book.hear()
        return self._told

    def within(self) -> dict[str, Any]:
        """Fill what fills inside the bar."""
        if self._phase == "begin":
            self.open()
        self._enter("within", ("open",))
        self.now_ns = self.market.ts_close[self.step]
        for book in self.books.values():
            if book.broker.has_resting:
                book.broker.match_within()
                book.hear()
        return self._told

    def close(self) -> dict[str, Any]:
        """Close the step: its bars go out."""
        if self._phase in ("begin", "open"):
            self.within()
        self._enter("close", ("within",))
        market, step = self.market, self.step
        ends = bool(market.ends_session[step])
        closing = market.closing(market.present_rows)
        for book in self.books.values():
            book.broker.match_close(closing)
            book.hear()
            self._follow(book)
            if ends:
                book.close_session(market.days_to_next[step])
            book.note_equity()
        self.scene.leave()
        self._emit_bars()
        return {
            **self._told, "bars": self.n_bars, "ends_session": ends,
            "days_to_next": int(market.days_to_next[step]),
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return where the venue stands."""
        open_orders = sum(len(book.working()) for book in self.books.values())
        return {
            "now_ns": self.now_ns, **self._told, "bars": self.n_bars, "step": self.step,
            "n_steps": self.market.n_steps, "open_orders": open_orders, "phase": self._phase,
            "ts_close": self.market.ts_close[self.step] if self.step >= 0 else 0,
        }  # fmt: skip

    def _enter(self, phase: str, after: tuple[str, ...]) -> None:
        if self._phase not in after:
            raise PhaseWrong(phase, f"the last phase was {self._phase!r}")
        self._phase = phase

    @property
    def _told(self) -> dict[str, int]:
        return {"updates": self.first.n_updates, "activities": len(self.first.activities)}

    def _follow(self, book: AccountBook) -> None:
        market = self.market
        for symbol, row in zip(market.symbols, market.present_rows, strict=True):
            if row >= 0:
                tape = market.tapes[symbol]
                book.follow(symbol, tape.high[row], tape.low[row])

    def _emit_bars(self) -> None:
        """Send the bars of the step that has closed, and the bands around them, in one call."""
        tape, rows = self.data.tape, self.market.present_rows
        kind = "d" if tape.daily else "b"
        messages = [
            {"T": kind, "S": symbol, **bar_of(tape.base(symbol), row)}
            for symbol, row in zip(self.market.symbols, rows, strict=True)
            if row >= 0
        ]
        self.n_bars += len(messages)
        closes = ((one["S"], one["c"]) for one in messages if one["S"] not in self.banded)
        self.publish([*messages, *bands(closes, self.now_ns)])

    def publish(self, messages: list[dict[str, Any]]) -> None:
        """Send market data messages (``t`` int ns) to whoever listens, if there are any."""
        for callback in self._on_data if messages else ():
            callback(messages)

    def _misbehave(self) -> None:
        """Do what the fault plan has for the beginning of this step."""
        due = self.faults.step(self.step, stamp(self.now_ns), self.now_ns)
        for frame in due.frames:
            self._send(self.first.spec.id, frame, self.first.n_updates)
        for request in due.requests:
            self._routes.answer(self.first, request.method, request.path, {}, request.body)
        if due.cut:
            self.cut_sockets()


def opens_of(market: Market, rows: Sequence[int], closes_ns: int) -> int:
    """Return when a step's first bar opens, ns UTC; ``closes_ns`` where it has none."""
    tapes = zip(market.tapes.values(), rows, strict=True)
    return min((tape.ts_open[row] for tape, row in tapes if row >= 0), default=closes_ns)


__all__ = ["AccountSpec", "Answer", "Request", "Unanswered", "Venue"]
