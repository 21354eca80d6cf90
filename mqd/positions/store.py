"""The position store: orders, fills, positions and ledger in SQLite, a projection of the log.

The log is the truth. The store carries ``applied_seq`` in the transaction that applied it, so a
store behind its log catches up, and one that is ahead of it, or of another log, is thrown away
and rebuilt. Money, prices and quantities are Decimal kept as text; times are int64 nanoseconds.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal, getcontext, localcontext, setcontext
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Self

from mqd.errors import LedgerUnbalanced, StoreFailed, UsageError
from mqd.log_files import SEGMENT_CLOSE, SEGMENT_OPEN
from mqd.log_reader import read_from
from mqd.positions.journal import (
    EXACT,
    ZERO,
    Held,
    Postings,
    book_action,
    book_cash,
    book_fill,
)
from mqd.positions.rows import WIDTHS, Row, insert, noted

FILE_NAME: Final = "store.sqlite"
SCHEMA: Final = "1"
BATCH: Final = 1_000
DIFFERENCES_MAX: Final = 100

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE orders (
    id TEXT PRIMARY KEY, seq INTEGER, ts INTEGER, strategy TEXT, symbol TEXT, side TEXT,
    qty TEXT, type TEXT, limit_px TEXT, stop_px TEXT, time_in_force TEXT, class TEXT,
    reason TEXT, group_id TEXT, parent_id TEXT,
    filled_qty TEXT, last_event TEXT, last_event_ts INTEGER) WITHOUT ROWID;
CREATE TABLE fills (
    execution_id TEXT PRIMARY KEY, seq INTEGER, ts INTEGER, ts_fill INTEGER, order_id TEXT,
    symbol TEXT, strategy TEXT, side TEXT, qty TEXT, px TEXT, fee TEXT, kind TEXT) WITHOUT ROWID;
CREATE TABLE positions (
    symbol TEXT PRIMARY KEY, qty TEXT, cost TEXT, realized TEXT, fees TEXT) WITHOUT ROWID;
CREATE TABLE ledger (seq INTEGER, account TEXT, symbol TEXT, amount TEXT);
CREATE TABLE balances (account TEXT PRIMARY KEY, amount TEXT) WITHOUT ROWID;
INSERT INTO meta VALUES ('applied_seq', 0);
"""
_NOTE_ORDERS: Final = (
    "UPDATE orders SET filled_qty = coalesce(?, filled_qty), last_event = ?, last_event_ts = ?"
    " WHERE id = ?"
)
_PUT_POSITIONS: Final = "REPLACE INTO positions VALUES (?,?,?,?,?)"
_PUT_BALANCES: Final = "REPLACE INTO balances VALUES (?,?)"
_PUT_META: Final = "REPLACE INTO meta VALUES (?,?)"
_KEY_COLUMNS: Final = {"orders": 1, "fills": 1, "positions": 1, "ledger": 2, "balances": 1}
_INTENT: Final = (
    "strategy", "symbol", "side", "qty", "type", "limit", "stop", "tif", "class", "reason",
    "group", "parent",
)  # fmt: skip
_fill_fields: Final = itemgetter(
    "ts_fill", "id", "symbol", "strategy", "side", "qty", "px", "fee", "kind"
)
_FLAT: Final = Held()
_ENVELOPE: Final = frozenset({SEGMENT_OPEN, SEGMENT_CLOSE})

Tip = Callable[[], tuple[int, str]]


class PositionStore:
    """One writer (the thread that calls ``apply``), any number of reading threads.

    Readers see what is committed: every ``batch`` records, and at ``commit``. ``tip`` is
    ``TransactionLog.tip``; with it the store notes which log it belongs to.
    """

    def __init__(
        self, file: Path, *, tip: Tip | None = None, batch: int = BATCH, durable: bool = True
    ) -> None:
        """Open a store that exists; use ``create``, ``recover`` or ``rebuild``."""
        self.file = file
        self._tip, self._batch = tip, batch
        self._synchronous = "NORMAL" if durable else "OFF"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._added: dict[str, list[Any]] = {table: [] for table in WIDTHS}
        self._order_events: dict[str, Row] = {}
        self._buffered = 0
        if (schema := self._meta("schema")) != SCHEMA:
            raise StoreFailed(str(file), f"its schema is {schema!r}, this version needs {SCHEMA!r}")
        self._seq = self.applied_seq
        self._held = self.positions()
        self._balances = self.balances()
        self._dirty: set[str] = set()

    @classmethod
    def create(
        cls, folder: Path, *, tip: Tip | None = None, batch: int = BATCH, durable: bool = True
    ) -> Self:
        """Create ``folder/store.sqlite`` (mode 0600); ``StoreFailed`` when it exists.

        ``durable=False`` is for runs that can be repeated: nothing is synced.
        """
        file = folder / FILE_NAME
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(file, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
                connection.execute(_PUT_META, ("schema", SCHEMA))
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(str(file), f"it cannot be created ({error})") from error
        return cls(file, tip=tip, batch=batch, durable=durable)

    @classmethod
    def rebuild(cls, folder: Path, into: Path | None = None) -> Self:
        """Build a store from the log of ``folder`` alone and return it.

        It is made in the folder ``into``, by default in a scratch folder that ``close``
        removes. Raises what `mqd.log_reader.read` raises, and ``LedgerUnbalanced``.
        """
        scratch = None
        if into is None:
            scratch = tempfile.TemporaryDirectory(prefix="mqd-rebuild-")
            into = Path(scratch.name)
        store = cls.create(into)
        store._scratch = scratch
        store.catch_up(folder)
        return store

    @classmethod
    def recover(
        cls, folder: Path, *, tip: Tip | None = None, batch: int = BATCH, verified: bool = False
    ) -> Self:
        """Open the store of ``folder`` and bring it level with the log.

        Behind the log it catches up; missing, unreadable, ahead of the log or of another log,
        it is thrown away and rebuilt: it is never the truth. The caller holds the folder;
        ``verified``: it has just verified the log too.
        """
        file = folder / FILE_NAME
        store: Self | None = None
        try:
            store = cls(file, batch=batch)
            if store.catch_up(folder, verified=verified):
                store._tip = tip
                return store
        except (StoreFailed, LedgerUnbalanced, ArithmeticError):
            pass  # a store is never the truth; a fault of the log shows again in the rebuild
        if store is not None:
            store.close()
        for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            (folder / name).unlink(missing_ok=True)
        cls.rebuild(folder, into=folder).close()
        return cls(file, tip=tip, batch=batch)

    def catch_up(self, folder: Path, *, verified: bool = False) -> bool:
        """Apply the records after ``applied_seq``; False when this is no store of that log.

        Of a log that the caller has ``verified`` the records before are passed over.
        """
        noted_seq, noted_sha = self._meta("chain_seq"), self._meta("chain")
        start, last, sha = self.applied_seq, 0, ""
        first = min(start, noted_seq or 0) if verified else 0
        for record in read_from(folder, first):
            last, sha = record.seq, record.line_sha256
            if last == noted_seq and sha != noted_sha:
                return False
            if last > start and record.kind not in _ENVELOPE:
                self.apply(last, record.kind, record.ts_ns, record.payload)
        if last < max(start, noted_seq or 0):
            return False
        self._commit((last, sha))
        return True

    def apply(self, seq: int, kind: str, ts_ns: int, payload: dict[str, Any]) -> None:
        """Take over one log record; kinds that the store does not keep move ``seq`` only.

        Raises ``LedgerUnbalanced`` (nothing of the record is kept) and ``StoreFailed``.
        """
        if seq <= self._seq:
            raise UsageError(f"Record {seq} was applied before; the store is at {self._seq}.")
        try:
            match kind:
                case "report" | "command":
                    self._note(ts_ns, payload, payload.get("kind") or payload["command"])
                case "intent" | "denied":
                    self._apply_order(seq, ts_ns, payload, kind)
                case "fill" | "cash" | "action":
                    self._apply_money(seq, kind, ts_ns, payload)
                case _:
                    pass
        except (KeyError, TypeError, ArithmeticError) as error:
            raise LedgerUnbalanced(f"record {seq} ({kind})", f"bad field {error!r}") from error
        self._seq = seq
        self._buffered += 1
        if self._buffered >= self._batch:
            self.commit()

    def commit(self) -> None:
        """Write all that was applied, ``applied_seq`` with it, in one transaction."""
        if self._buffered:
            self._commit(self._tip() if self._tip is not None else None)

    @property
    def applied_seq(self) -> int:
        """The seq of the last record that is committed."""
        return int(self._meta("applied_seq") or 0)

    def positions(self) -> dict[str, Held]:
        """Return every symbol ever held, flat ones included."""
        rows = self._query("SELECT * FROM positions ORDER BY symbol")
        return {row[0]: Held(*map(Decimal, row[1:])) for row in rows}

    def balances(self) -> dict[str, Decimal]:
        """Return the balance of each account, debit-positive."""
        rows = self._query("SELECT * FROM balances ORDER BY account")
        return {account: Decimal(amount) for account, amount in rows}

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows in key order as dicts; amounts are text."""
        if table not in _KEY_COLUMNS:
            raise UsageError(f"No table {table!r}. Known: {', '.join(_KEY_COLUMNS)}.")
        cursor = self._connection().execute(f"SELECT * FROM {table}")  # noqa: S608
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def check_balance(self) -> None:
        """Raise ``LedgerUnbalanced`` unless each record's postings and all balances agree."""
        totals: dict[str, Decimal] = {}
        by_record: dict[int, Decimal] = {}
        with localcontext(EXACT):
            for seq, account, text in self._query("SELECT seq, account, amount FROM ledger"):
                amount = Decimal(text)
                by_record[seq] = by_record.get(seq, ZERO) + amount
                totals[account] = totals.get(account, ZERO) + amount
        for seq, total in by_record.items():
            if total:
                raise LedgerUnbalanced(f"record {seq}", f"its postings sum to {total}")
        if totals != self.balances():
            raise LedgerUnbalanced("the store", "its balances are not the sums of its postings")

    def compare(self, other: PositionStore) -> list[str]:
        """Return the differences of two stores' content as sentences, none when equal."""
        self.commit()
        other.commit()
        connection = self._connection()
        connection.execute("ATTACH ? AS other", (str(other.file),))
        try:
            found: list[str] = []
            for table, n_keys in _KEY_COLUMNS.items():
                here = self._only(connection, table, "main", "other", n_keys)
                there = self._only(connection, table, "other", "main", n_keys)
                for key in sorted(here.keys() | there.keys()):
                    name = f"{table} {' '.join(map(str, key))}"
                    found.append(f"{name}: here {here.get(key)}, there {there.get(key)}")
            return found[:DIFFERENCES_MAX]
        finally:
            connection.execute("DETACH other")

    def close(self) -> None:
        """Commit and close every thread's connection; a scratch store is removed."""
        try:
            self.commit()
        finally:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()
            if self._scratch is not None:
                self._scratch.cleanup()

    def _apply_money(self, seq: int, kind: str, ts_ns: int, payload: dict[str, Any]) -> None:
        outside = getcontext()
        setcontext(EXACT)
        try:
            if kind == "cash":
                self._post(seq, book_cash(f"record {seq} (cash)", payload))
            else:
                self._apply_held(seq, kind, ts_ns, payload)
        finally:
            setcontext(outside)

    def _apply_held(self, seq: int, kind: str, ts_ns: int, payload: dict[str, Any]) -> None:
        symbol = payload["symbol"]
        held = self._held.get(symbol, _FLAT)
        if kind == "fill":
            row = (payload["exec_id"], seq, ts_ns, *_fill_fields(payload))
            after, postings = book_fill(f"record {seq} (fill {row[0]})", held, payload)
            self._added["fills"] += row
            self._note(ts_ns, payload, payload["kind"])
        else:
            name = f"record {seq} ({payload['kind']} of {symbol})"
            after, postings = book_action(name, held, payload)
        self._post(seq, postings)
        self._held[symbol] = after
        self._dirty.add(symbol)

    def _apply_order(self, seq: int, ts_ns: int, payload: dict[str, Any], event: str) -> None:
        terms = [payload.get(key) for key in _INTENT]
        self._added["orders"] += (payload["id"], seq, ts_ns, *terms, "0", event, ts_ns)

    def _note(self, ts_ns: int, payload: dict[str, Any], event: str) -> None:
        """Remember the last thing said of an order; ``filled_qty`` never goes back."""
        key, cum = payload["id"], payload.get("cum")
        before = self._order_events.get(key)
        if cum is None and before is not None:
            cum = before[0]
        self._order_events[key] = (cum, event, ts_ns, key)

    def _post(self, seq: int, postings: Postings) -> None:
        balances, added = self._balances, self._added["ledger"]
        for account, symbol, amount, text in postings:
            added += (seq, account, symbol, text)
            balances[account] = balances.get(account, ZERO) + amount

    def _commit(self, tip: tuple[int, str] | None) -> None:
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._write(connection, tip)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreFailed(str(self.file), f"a commit failed ({error})") from error
        for values in self._added.values():
            values.clear()
        self._order_events.clear()
        self._dirty.clear()
        self._buffered = 0

    def _write(self, connection: sqlite3.Connection, tip: tuple[int, str] | None) -> None:
        many = connection.executemany
        later = noted(self._added["orders"], self._order_events)
        for table, values in self._added.items():
            insert(many, table, values)
        many(_NOTE_ORDERS, later)
        held = [(key, *[f"{n:f}" for n in self._held[key]]) for key in sorted(self._dirty)]
        many(_PUT_POSITIONS, held)
        if self._added["ledger"]:
            sums = [(account, f"{amount:f}") for account, amount in self._balances.items()]
            many(_PUT_BALANCES, sums)
        notes: list[Row] = [("applied_seq", self._seq)]
        if tip is not None:
            notes += [("chain_seq", tip[0]), ("chain", tip[1])]
        many(_PUT_META, notes)

    def _meta(self, key: str) -> Any:
        rows = self._query("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def _query(self, sql: str, values: Row = ()) -> list[Row]:
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreFailed(str(self.file), f"it cannot be read ({error})") from error

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self.file.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
            )
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            self._connections.append(connection)
            self._local.connection = connection
        return connection

    @staticmethod
    def _only(
        connection: sqlite3.Connection, table: str, this: str, that: str, n_keys: int
    ) -> dict[Row, Row]:
        """Return the rows of ``this`` that ``that`` lacks, by key."""
        rows = connection.execute(
            f"SELECT * FROM {this}.{table} EXCEPT SELECT * FROM {that}.{table}"  # noqa: S608
            f" LIMIT {DIFFERENCES_MAX}"
        )
        return {row[:n_keys]: row[n_keys:] for row in rows}
