"""The store: a projection that says what the log says, and never more."""

from __future__ import annotations

import sqlite3
import stat
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from mqd.errors import LedgerUnbalanced, LogDamaged, StoreFailed, UsageError
from mqd.positions.store import FILE_NAME, PositionStore
from mqd.transaction_log import TransactionLog, new_run_folder

DEPOSIT = {"ts": 1, "account": "deposits", "symbol": "", "amount": "10000.00"}
INTENT = {
    "ts": 2, "id": "o1", "strategy": "sma", "symbol": "AAPL", "side": "buy", "qty": "10",
    "type": "limit", "limit": "100.00", "stop": None, "tif": "day", "class": "simple",
    "reason": "target", "group": "", "parent": "", "allocation": [["sma", "10"]],
}  # fmt: skip
ACCEPTED = {
    "ts": 2, "kind": "accepted", "id": "o1", "symbol": "AAPL", "venue_id": "v1", "cum": "0",
    "text": "",
}  # fmt: skip
BUY = {
    "ts": 3, "ts_fill": 3, "id": "o1", "exec_id": "e1", "symbol": "AAPL", "strategy": "sma",
    "side": "buy", "qty": "10", "px": "100.00", "fee": "0.02", "kind": "fill", "cum": "10",
    "cash": "-1000.02", "cost": "1000.00", "realized": "0.00", "position": "10",
    "position_cost": "1000.00",
}  # fmt: skip
SELL = BUY | {
    "ts": 4, "ts_fill": 4, "id": "o2", "exec_id": "e2", "side": "sell", "qty": "4",
    "px": "110.00", "fee": "0.03", "cum": "4", "cash": "439.97", "cost": "-400.00",
    "realized": "40.00", "position": "6", "position_cost": "600.00",
}  # fmt: skip
SPLIT = {
    "ts": 5, "symbol": "AAPL", "kind": "split", "ratio": "1/4", "qty_before": "6",
    "qty_after": "1", "cash": "220.00", "cost_delta": "-200.00", "realized": "20.00",
}  # fmt: skip
DIVIDEND = {"ts": 6, "account": "dividends", "symbol": "AAPL", "amount": "0.24"}
BORROW = {"ts": 7, "account": "borrow", "symbol": "AAPL", "amount": "-0.05"}
STORY = [
    ("run.start", {"ts": 0}), ("cash", DEPOSIT), ("decision", {"ts": 2}), ("intent", INTENT),
    ("report", ACCEPTED), ("fill", BUY), ("intent", INTENT | {"id": "o2", "ts": 4}),
    ("fill", SELL), ("command", {"ts": 4, "id": "o2", "command": "cancel"}),
    ("report", ACCEPTED | {"id": "o2", "kind": "canceled", "ts": 5, "cum": "4"}),
    ("denied", {"ts": 5, "id": "o3", "strategy": "sma", "symbol": "IBM", "side": "buy",
                "qty": "5", "type": "market", "refusals": []}),
    ("action", SPLIT), ("cash", DIVIDEND), ("cash", BORROW), ("run.end", {"ts": 8}),
]  # fmt: skip


def write_log(tmp_path: Path, story=STORY, close: bool = True) -> tuple[Path, TransactionLog]:
    folder = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(folder, {}, durable=False)
    for kind, payload in story:
        log.append(kind, payload["ts"], payload)
    if close:
        log.close("done")
    return folder, log


def run_beside(tmp_path: Path, batch: int = 1_000, story=STORY) -> tuple[Path, PositionStore]:
    folder = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(folder, {}, durable=False)
    store = PositionStore.create(folder, tip=log.tip, batch=batch)
    for kind, payload in story:
        store.apply(log.append(kind, payload["ts"], payload), kind, payload["ts"], payload)
    store.commit()
    log.close("done")
    return folder, store


def test_what_the_store_holds_after_a_hand_worked_story(tmp_path):
    _, store = run_beside(tmp_path)
    assert store.balances() == {
        "cash": Decimal("9660.14"),  # 10000 - 1000.02 + 439.97 + 220 + 0.24 - 0.05
        "deposits": Decimal(-10000),
        "position_cost": Decimal(400),  # 1000 - 400 - 200
        "fees": Decimal("0.05"),
        "realized": Decimal(-60),
        "dividends": Decimal("-0.24"),
        "borrow": Decimal("0.05"),
    }
    assert sum(store.balances().values()) == 0
    assert store.positions() == {"AAPL": (Decimal(1), Decimal(400), Decimal(60), Decimal("0.05"))}
    orders = {row["id"]: row for row in store.rows("orders")}
    assert [(o["filled_qty"], o["last_event"]) for o in orders.values()] == [
        ("10", "fill"), ("4", "canceled"), ("0", "denied"),
    ]  # fmt: skip
    assert orders["o1"]["limit_px"] == "100.00"
    assert orders["o1"]["stop_px"] is None
    fills = list(store.rows("fills"))
    assert [(f["execution_id"], f["px"], f["fee"]) for f in fills] == [
        ("e1", "100.00", "0.02"), ("e2", "110.00", "0.03"),
    ]  # fmt: skip
    assert store.applied_seq == len(STORY) + 1
    store.check_balance()
    with pytest.raises(UsageError, match="Known"):
        next(store.rows("secrets"))
    store.close()


def test_file_is_private_and_in_wal_mode_with_text_amounts(tmp_path):
    folder, store = run_beside(tmp_path)
    file = folder / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    types = connection.execute("SELECT DISTINCT typeof(amount) FROM ledger").fetchall()
    assert types == [("text",)]
    connection.close()
    store.close()
    with pytest.raises(StoreFailed, match="cannot be created"):
        PositionStore.create(folder)


@pytest.mark.parametrize("batch", [1, 3, 1_000])
def test_rebuilt_from_the_log_it_is_equal_whatever_the_batches(tmp_path, batch):
    folder, store = run_beside(tmp_path, batch)
    rebuilt = PositionStore.rebuild(folder)
    assert store.compare(rebuilt) == []
    assert rebuilt.compare(store) == []
    assert rebuilt.applied_seq == store.applied_seq == len(STORY) + 1
    scratch = rebuilt.file
    rebuilt.close()
    store.close()
    assert not scratch.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE positions SET qty = '11'", "positions AAPL"),
        ("DELETE FROM fills WHERE execution_id = 'e2'", "fills e2"),
        ("UPDATE balances SET amount = '0' WHERE account = 'fees'", "balances fees"),
        ("UPDATE orders SET last_event = 'fill' WHERE id = 'o3'", "orders o3"),
        ("UPDATE ledger SET amount = '1' WHERE seq = 3 AND account = 'cash'", "ledger 3 cash"),
    ],
)
def test_compare_names_what_differs(tmp_path, change, says):
    folder, store = run_beside(tmp_path)
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute(change)
    connection.commit()
    connection.close()
    rebuilt = PositionStore.rebuild(folder)
    differences = rebuilt.compare(store)
    assert len(differences) == 1
    assert differences[0].startswith(says)
    rebuilt.close()
    store.close()


@pytest.mark.parametrize(
    ("kind", "payload", "says"),
    [
        ("fill", BUY | {"cash": "-1000.01"}, "record 3 (fill e1): its postings sum to 0.01"),
        ("fill", BUY | {"fee": "0"}, "sum to -0.02"),
        ("fill", BUY | {"position": "9"}, "it says position 9, the records before give 10"),
        ("fill", BUY | {"position_cost": "999"}, "it says cost 999"),
        ("fill", BUY | {"side": "sell"}, "the records before give -10"),
        ("fill", BUY | {"cash": None}, "bad field"),
        ("fill", BUY | {"cost": "NaN"}, "NaN"),
        ("cash", DEPOSIT | {"amount": "NaN"}, "NaN"),
        ("cash", DEPOSIT | {"amount": "Infinity"}, "bad field"),
        ("fill", {key: BUY[key] for key in BUY if key != "px"}, "bad field"),
        ("fill", {"ts": 1, "exec_id": "e"}, "bad field"),
        ("action", SPLIT | {"qty_before": "0", "cash": "219.00"}, "sum to -1.00"),
        ("action", SPLIT, "it says position 6"),
        ("cash", DEPOSIT | {"amount": "lots"}, "record 3 (cash): bad field"),
    ],
)
def test_a_record_that_does_not_balance_is_refused_by_name_and_leaves_no_trace(
    tmp_path, kind, payload, says
):
    store = PositionStore.create(tmp_path)
    store.apply(2, "cash", 1, DEPOSIT)
    with pytest.raises(LedgerUnbalanced) as caught:
        store.apply(3, kind, payload.get("ts", 1), payload)
    assert says in str(caught.value)
    store.commit()
    assert store.applied_seq == 2
    assert store.balances() == {"cash": Decimal(10000), "deposits": Decimal(-10000)}
    assert list(store.rows("fills")) == []
    assert store.positions() == {}
    store.apply(3, "fill", 3, BUY)
    store.commit()
    store.check_balance()
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger SET amount = '9999' WHERE account = 'fees'",
        "UPDATE balances SET amount = '1' WHERE account = 'cash'",
    ],
)
def test_check_balance_finds_a_changed_amount(tmp_path, change):
    _, store = run_beside(tmp_path)
    connection = sqlite3.connect(store.file)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(LedgerUnbalanced, match="sum"):
        store.check_balance()
    store.close()


def test_one_execution_is_booked_once(tmp_path):
    store = PositionStore.create(tmp_path, batch=1)
    store.apply(2, "fill", 3, BUY)
    again = BUY | {"position": "20", "position_cost": "2000.00"}
    with pytest.raises(StoreFailed, match="UNIQUE"):
        store.apply(3, "fill", 3, again)
    assert store.applied_seq == 2
    with pytest.raises(UsageError, match="applied before"):
        store.apply(2, "fill", 3, BUY)


def test_applied_seq_and_rows_are_one_transaction(tmp_path):
    """A second connection sees the rows of record n exactly when it sees applied_seq >= n."""
    _, log = write_log(tmp_path, [], close=False)
    store = PositionStore.create(log.folder, batch=4)
    watcher = sqlite3.connect(store.file, isolation_level=None)
    for number in range(1, 41):
        store.apply(number, "cash", 1, DEPOSIT | {"amount": str(number)})
        watcher.execute("BEGIN")
        (seq,) = watcher.execute("SELECT value FROM meta WHERE key = 'applied_seq'").fetchone()
        (last,) = watcher.execute("SELECT coalesce(max(seq), 0) FROM ledger").fetchone()
        watcher.execute("COMMIT")
        assert seq == last == number - number % 4
    watcher.close()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("k", range(1, 12))
def test_killed_inside_a_commit_it_is_as_before_and_catches_up(tmp_path, monkeypatch, k):
    folder, _ = write_log(tmp_path)
    store = PositionStore.create(folder)
    store.apply(2, "run.start", 1, {"ts": 0})
    store.apply(3, "cash", 1, DEPOSIT)
    store.commit()
    store.apply(4, "decision", 1, {"ts": 2})
    store.apply(5, "intent", 2, INTENT)
    store.apply(7, "fill", 3, BUY)
    calls = 0

    class Connection:
        """A connection that dies at its k-th statement of a commit."""

        def __init__(self, real):
            self.real = real

        def execute(self, sql, values=()):
            return self.real.execute(sql, values)

        def executemany(self, sql, rows):
            nonlocal calls
            calls += 1
            if calls == k:
                raise Interrupted
            return self.real.executemany(sql, rows)

    real = store._connection()
    monkeypatch.setattr(store, "_connection", lambda: Connection(real))
    try:
        store.commit()
        assert k == 11, "ten statements"
    except Interrupted:
        assert k < 11
    real.close()
    seen = sqlite3.connect(folder / FILE_NAME)
    (seq,) = seen.execute("SELECT value FROM meta WHERE key = 'applied_seq'").fetchone()
    (n_fills,) = seen.execute("SELECT count(*) FROM fills").fetchone()
    seen.close()
    assert (seq, n_fills) == ((7, 1) if k == 11 else (3, 0))
    recovered = PositionStore.recover(folder)
    rebuilt = PositionStore.rebuild(folder)
    assert recovered.compare(rebuilt) == []
    recovered.check_balance()
    recovered.close()
    rebuilt.close()


BOTH = pytest.mark.parametrize("verified", [False, True])


def recover_equals_rebuild(folder: Path, *, verified: bool = False) -> PositionStore:
    store = PositionStore.recover(folder, verified=verified)
    rebuilt = PositionStore.rebuild(folder)
    assert store.compare(rebuilt) == []
    rebuilt.close()
    return store


@BOTH
def test_a_store_behind_its_log_catches_up_without_starting_anew(tmp_path, verified):
    folder, store = run_beside(tmp_path)
    store.close()
    file = folder / FILE_NAME
    file.unlink()
    short = PositionStore.create(folder)
    short.apply(3, "cash", 1, DEPOSIT)
    short.close()
    inode = file.stat().st_ino
    store = recover_equals_rebuild(folder, verified=verified)
    assert file.stat().st_ino == inode
    assert store.applied_seq == len(STORY) + 1
    store.close()


@BOTH
def test_a_store_ahead_of_its_log_is_thrown_away_and_rebuilt(tmp_path, verified):
    folder, store = run_beside(tmp_path)
    store.close()
    segment = folder / "log/000001.ndjson"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:8]))
    store = recover_equals_rebuild(folder, verified=verified)
    assert store.applied_seq == 8
    assert [fill["execution_id"] for fill in store.rows("fills")] == ["e1"]
    store.close()


@BOTH
def test_a_store_of_another_log_is_thrown_away_and_rebuilt(tmp_path, verified):
    folder, store = run_beside(tmp_path)
    store.close()
    (tmp_path / "b").mkdir()
    changed = [(k, p | {"qty": "11"} if k == "intent" else p) for k, p in STORY]
    other, theirs = run_beside(tmp_path / "b", story=[*changed, ("mark", {"ts": 9})])
    theirs.close()
    (other / FILE_NAME).write_bytes((folder / FILE_NAME).read_bytes())
    store = recover_equals_rebuild(other, verified=verified)
    assert next(store.rows("orders"))["qty"] == "11"
    store.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"not a database, but long enough to be read" * 50),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: run_sql(file, "UPDATE meta SET value = '0' WHERE key = 'schema'"),
        lambda file: run_sql(file, "UPDATE positions SET qty = 'many'"),
    ],
)
def test_a_missing_corrupt_or_foreign_store_is_rebuilt(tmp_path, spoil):
    folder, store = run_beside(tmp_path)
    store.close()
    spoil(folder / FILE_NAME)
    recover_equals_rebuild(folder).close()


def run_sql(file: Path, sql: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_a_damaged_log_rebuilds_nothing_and_leaves_the_store(tmp_path):
    folder, store = run_beside(tmp_path)
    store.close()
    segment = folder / "log/000001.ndjson"
    segment.write_bytes(segment.read_bytes().replace(b'"limit":"100.00"', b'"limit":"100.01"'))
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(LogDamaged):
        PositionStore.recover(folder)
    assert (folder / FILE_NAME).read_bytes() == before


def test_each_thread_has_a_connection_and_readers_see_what_is_committed(tmp_path):
    store = PositionStore.create(tmp_path, batch=10)
    seen: list[int] = []
    errors: list[Exception] = []
    done = threading.Event()

    def read_on():
        try:
            while not done.is_set():
                seen.append(store.applied_seq)
                balances = store.balances()
                assert sum(balances.values()) == 0
                assert store._connection() is store._connection()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 2_001):
        store.apply(number, "cash", 1, DEPOSIT | {"amount": "0.01"})
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(seq % 10 == 0 for seq in seen)
    assert seen
    assert len(store._connections) == 4
    assert store.balances()["cash"] == Decimal("20.00")
    store.close()
    store.close()


def test_a_full_disk_is_said_and_the_log_stays_the_truth(tmp_path):
    store = PositionStore.create(tmp_path, batch=10_000)
    store._connection().execute("PRAGMA max_page_count = 20")
    for number in range(1, 5_000):
        store.apply(number, "cash", 1, DEPOSIT)
    with pytest.raises(StoreFailed, match="full"):
        store.commit()
    assert store.applied_seq == 0
