"""`mqd status`, `kill`, `rearm`, `backup`, `restore`: what an operator types, and what it does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mqd
from mqd.cli import main as cli
from mqd.core.clock import WallClock
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.status import open_orders, read_status, tail
from mqd.log_reader import read
from mqd.positions.store import PositionStore
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.strategy.library.sma_cross import SmaCross
from mqd.transaction_log import TransactionLog

DATA = "datasets/us_equity_daily_raw.parquet"
ACCOUNT = "904837e3-3b76-47ec-b432-046db621571b"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of a run: 1 is the first intent's place in it and so on."""
    folder = tmp_path_factory.mktemp("source") / "run"
    bars = mqd.load_bars(DATA, symbols=["IBM"], start="2009-01-02", end="2009-12-31")
    mqd.backtest(SmaCross(fast=5, slow=20), bars, engine="event", out=folder)
    return [record for record in read(folder) if not record.kind.startswith("segment.")]


class Made:
    """A state folder whose log is written record by record."""

    def __init__(self, path):
        self.held = StateFolder.open(path, account=account_sha256(ACCOUNT), mode="paper")
        header = {"mode": "paper", "code": "0.1", "run_id": "r1"}
        self.log = TransactionLog.create(self.held.path, header, durable=False)
        self.store = PositionStore.create(self.held.path, tip=self.log.tip, durable=False)
        self.path = str(self.held.path)

    def add(self, records, stored=True):
        """Log records; those that are not ``stored`` wait in the log alone."""
        for record in records:
            seq = self.log.append(record.kind, record.ts_ns, record.payload)
            if stored:
                self.store.apply(seq, record.kind, record.ts_ns, record.payload)
        self.store.commit()

    def stop(self):
        """End the desk as a kill would: no closing record."""
        self.store.close()
        self.log._release()
        self.held.close()


@pytest.fixture
def made(tmp_path):
    """A state folder that is held."""
    found = Made(tmp_path / "state")
    yield found
    found.stop()


def upto(records, kind, n=1):
    """Return the records up to the n-th of a kind, that one included."""
    places = [place for place, record in enumerate(records) if record.kind == kind]
    return records[: places[n - 1] + 1]


def run(capsys, *words):
    """Run a command; return its exit code and what it printed."""
    code = cli.main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# --- status ------------------------------------------------------------------------------------


def test_status_reads_beside_the_desk_what_the_store_has_not_yet(made, records, capsys):
    made.add(upto(records, "intent"))
    made.add(upto(records, "fill")[len(upto(records, "intent")) :], stored=False)
    made.held.beat(WallClock().now_ns(), run_id="r1")
    before = sorted(Path(made.path).rglob("*"))
    code, out, _ = run(capsys, "status", made.path, "--json")
    told = json.loads(out)
    fill = upto(records, "fill")[-1].payload
    assert code == 0
    assert told["positions"] == {
        "IBM": {
            "qty": fill["position"],
            "cost": fill["position_cost"],
            "realized": fill["realized"],
        }
    }
    assert told["open_orders"] == []
    assert (told["mode"], told["code"], told["seq"]) == ("paper", "0.1", made.log.seq)
    assert told["heartbeat"]["alive"] is True
    assert 0 <= told["heartbeat"]["age_s"] < 60
    assert told["records"][-1]["kind"] == "fill"
    assert told["latches"] == told["notes"] == []
    assert sorted(Path(made.path).rglob("*")) == before


def test_status_for_a_person_names_orders_latches_and_age(made, records, capsys):
    made.add(upto(records, "intent"))
    made.held.latches.trip("equity fell", 1_700_000_000_000_000_000, LatchLevel.HALT)
    code, out, _ = run(capsys, "status", made.path)
    order = upto(records, "intent")[-1].payload
    assert code == 1
    assert "! HALT since 2023-11-14T22:13:20Z: equity fell" in out
    assert "Heartbeat: none" in out
    assert "Open orders: 1" in out
    assert re.search(rf"{order['id']}  {order['side']} {order['qty']} IBM market, filled 0", out)


def test_a_dead_heartbeat_is_said(made, capsys):
    made.held.beat(WallClock().now_ns() - 61_000_000_000)
    assert "NOT alive" in run(capsys, "status", made.path)[1]


def test_status_tells_what_the_session_counted_while_it_runs_and_after_its_end(made, capsys):
    counts = {"bars": 1204, "n_passed": 2, "late_bars": 5, "n_late_taken": 3, "n_backfilled": 4}
    words = "Session: steps 1,204, passed as history 2, bars late 5, taken late 3, back-filled 4"
    made.held.beat(WallClock().now_ns(), state="running", **counts)
    assert words in run(capsys, "status", made.path)[1].splitlines()
    made.held.close()
    out = run(capsys, "status", made.path)[1]
    assert words in out.splitlines()
    assert ", the desk has ended (pid" in out
    told = json.loads(run(capsys, "status", made.path, "--json")[1])["heartbeat"]
    assert (told["alive"], told["state"]) == (False, "stopped")
    assert {name: told[name] for name in counts} == counts


def test_status_shows_no_records_that_only_a_restart_reads(made, records, capsys):
    made.add(upto(records, "fill"))
    for step in range(12):
        made.log.append("bars.taken", step, {"ts_close": step})
    told = json.loads(run(capsys, "status", made.path, "--json")[1])
    assert told["seq"] == made.log.seq
    assert told["records"][-1]["kind"] == "fill"


def test_status_of_a_damaged_log_still_shows_the_latches(made, records, capsys):
    made.add(upto(records, "fill"))
    made.held.latches.trip("by hand", 1)
    file = Path(made.path) / "log/000001.ndjson"
    file.write_bytes(file.read_bytes().replace(b'"kind":"fill"', b'"kind":"filL"'))
    code, out, _ = run(capsys, "status", made.path)
    assert code == 1
    assert "! KILL" in out
    assert "damaged" in out


def test_status_without_a_store_rebuilds_a_copy(made, records, capsys):
    made.add(upto(records, "fill"))
    made.stop()
    (Path(made.path) / "store.sqlite").unlink()
    told = json.loads(run(capsys, "status", made.path, "--json")[1])
    assert told["positions"]["IBM"]["qty"] == upto(records, "fill")[-1].payload["position"]
    assert not (Path(made.path) / "store.sqlite").exists()


def test_status_names_the_holder_and_leaves_no_file_behind(made, records, capsys):
    made.add(upto(records, "fill"))
    assert f"Held by: process {os.getpid()}" in run(capsys, "status", made.path)[1]
    made.stop()
    before = sorted(Path(made.path).rglob("*"))
    assert "Held by: nobody" in run(capsys, "status", made.path)[1]
    assert sorted(Path(made.path).rglob("*")) == before
    assert not (Path(made.path) / "store.sqlite-shm").exists()


def test_a_folder_without_a_desk_is_refused(tmp_path, capsys):
    for words in (["status"], ["kill", "--reason", "x"], ["rearm", "--reason", "x"]):
        code, _, err = run(capsys, words[0], str(tmp_path), *words[1:])
        assert code == 2
        assert "no state folder" in err
    assert list(tmp_path.iterdir()) == []


def test_the_tail_is_what_the_whole_reading_ends_with(made, records):
    for part in (records[:5], records[5:9], records[9:30]):
        made.add(part)
        made.log.rotate()
    whole = list(read(made.path))
    for after in range(len(whole) + 1):
        found = list(tail(Path(made.path), after))
        assert found == whole[len(whole) - len(found) :]
        assert not found or found[0].seq <= after + 1


# --- kill --------------------------------------------------------------------------------------


def test_kill_sets_a_durable_latch_while_a_desk_holds_the_folder(made, capsys):
    code, out, _ = run(capsys, "kill", made.path, "--reason", "odd\nfills", "--json")
    told = json.loads(out)
    assert code == 0
    assert made.held.latches.tripped
    assert (told["latch"], told["reason"]) == ("KILL", "odd fills")
    assert told["desk_alive"] is True
    assert 0 < told["durable_ms"] <= 100
    assert KillSwitch(Path(made.path) / "latches").tripped


def test_kill_twice_keeps_the_first_reason(made, capsys):
    run(capsys, "kill", made.path, "--reason", "first")
    code, out, _ = run(capsys, "kill", made.path, "--reason", "second")
    assert code == 0
    assert "first" in out
    assert "second" not in out
    assert f"Process {os.getpid()} trades there" in out
    made.stop()
    assert "No desk is alive there" in run(capsys, "kill", made.path, "--reason", "third")[1]


def test_kill_needs_a_reason(made, capsys):
    code, _, err = run(capsys, "kill", made.path, "--reason", " ")
    assert code == 2
    assert "with a reason" in err
    assert not made.held.latches.tripped
    assert run(capsys, "kill", made.path)[0] == 2


def test_kill_by_a_configuration_works_whatever_else_is_wrong_in_it(made, tmp_path, capsys):
    config = tmp_path / "desk.toml"
    config.write_text('mode = "nonsense"\nstate = "state"\nunknown = 7\n')
    assert run(capsys, "kill", str(config), "--reason", "now")[0] == 0
    assert made.held.latches.tripped
    config.write_text('mode = "paper"\n')
    code, _, err = run(capsys, "kill", str(config), "--reason", "now")
    assert code == 2
    assert "name the state folder itself" in err


def test_kill_of_a_folder_whose_disk_refuses_is_told(made, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mqd.risk.kill_switch.DiskIo.sync_folder", refuse)
    code, _, err = run(capsys, "kill", made.path, "--reason", "now")
    assert code == 1
    assert "not on disk" in err


def test_kill_is_a_process_of_its_own(made):
    words = [sys.executable, "-m", "mqd", "kill", made.path, "--reason", "now"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"durable after \d+\.\d ms: now", done.stdout)
    assert made.held.latches.tripped


# --- rearm -------------------------------------------------------------------------------------


def rearmed(capsys, path, *words, account=ACCOUNT):
    """Run rearm with a reason and the account."""
    return run(capsys, "rearm", path, "--reason", "looked at it", "--account", account, *words)


def test_rearm_clears_what_is_set_and_keeps_who_and_why(made, records, capsys):
    made.add(upto(records, "fill"))
    made.held.latches.trip("down", 1, LatchLevel.HALT)
    made.held.latches.trip("by hand", 2)
    made.stop()
    code, out, _ = rearmed(capsys, made.path, "--json")
    assert code == 0
    assert json.loads(out)["cleared"] == ["KILL", "HALT"]
    assert KillSwitch(Path(made.path) / "latches").level is LatchLevel.CLEAR
    said = json.loads((Path(made.path) / "latches/rearms.ndjson").read_text())
    assert said["levels"] == ["KILL", "HALT"]
    assert said["reason"] == "looked at it"
    assert len(list((Path(made.path) / "latches").glob("*.reset-*"))) == 2


def test_rearm_of_one_level_leaves_the_others(made, capsys):
    made.held.latches.trip("down", 1, LatchLevel.HALT)
    made.held.latches.trip("by hand", 2)
    made.stop()
    assert rearmed(capsys, made.path, "--level", "halt")[0] == 0
    assert KillSwitch(Path(made.path) / "latches").tripped


def test_rearm_is_refused_while_a_desk_runs(made, capsys):
    made.held.latches.trip("by hand", 2)
    code, _, err = rearmed(capsys, made.path)
    assert code == 3
    assert "Another process holds" in err
    assert KillSwitch(Path(made.path) / "latches").tripped


def test_rearm_is_refused_while_an_order_is_open(made, records, capsys):
    made.add(upto(records, "intent")[:-1])
    made.add(upto(records, "intent")[-1:], stored=False)
    made.held.latches.trip("by hand", 2)
    made.stop()
    code, _, err = rearmed(capsys, made.path)
    assert code == 1
    assert "1 order(s) are open" in err
    assert upto(records, "intent")[-1].payload["id"] in err
    assert KillSwitch(Path(made.path) / "latches").tripped


@pytest.mark.parametrize(
    ("kind", "is_open"),
    [
        ("ack", True), ("accepted", True), ("outcome_unknown", True), ("not_found_yet", True),
        ("cancel_rejected", True), ("canceled", False), ("expired", False), ("rejected", False),
        ("definite_reject", False), ("not_found", True), ("replaced", False),
    ],
)  # fmt: skip
def test_which_last_words_leave_an_order_open(made, records, kind, is_open):
    made.add(upto(records, "intent"))
    order = made.store.rows("orders")
    name = next(order)["id"]
    said = {"kind": kind, "id": name, "symbol": "IBM", "venue_id": "v", "cum": "0", "text": ""}
    made.add([records[0]._replace(kind="report", payload=said)])
    late = said | {"kind": "ack"}  # the answer to the POST, after what the stream said
    made.add([records[0]._replace(kind="report", payload=late)])
    assert bool(open_orders(Path(made.path))) is is_open


@pytest.mark.parametrize("account", ["", "other", ACCOUNT[:-1], account_sha256(ACCOUNT)])
def test_rearm_needs_the_account_typed_in_full(made, capsys, account):
    made.held.latches.trip("by hand", 2)
    made.stop()
    code, _, err = rearmed(capsys, made.path, account=account)
    assert code == 1
    assert "typed account id" in err
    assert KillSwitch(Path(made.path) / "latches").tripped


def test_rearm_asks_nobody_when_nobody_is_there(made, capsys, monkeypatch):
    made.stop()
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, _, err = run(capsys, "rearm", made.path, "--reason", "x")
    assert code == 2
    assert "--account" in err
    code, _, err = run(capsys, "rearm", made.path, "--reason", " ", "--account", ACCOUNT)
    assert code == 2
    assert "with a reason" in err


def test_rearm_with_nothing_set_says_so(made, capsys):
    made.stop()
    code, out, _ = rearmed(capsys, made.path)
    assert code == 0
    assert "No such latch is set" in out


# --- backup and restore ------------------------------------------------------------------------


def test_backup_and_restore_by_command(made, records, tmp_path, capsys):
    made.add(upto(records, "fill", 3))
    code, out, _ = run(capsys, "backup", made.path, str(tmp_path / "a.tar.gz"), "--json")
    assert code == 0
    assert json.loads(out)["seq"] == made.log.seq
    code, out, _ = run(capsys, "restore", str(tmp_path / "a.tar.gz"), str(tmp_path / "back"))
    assert code == 0
    assert f"up to record {made.log.seq}" in out
    here, there = (read_status(path, 0) for path in (made.path, tmp_path / "back"))
    assert (here.positions, here.seq) == (there.positions, there.seq)
    assert here.positions != {}
    code, _, err = run(capsys, "restore", str(tmp_path / "a.tar.gz"), str(tmp_path / "back"))
    assert code == 2
    assert "exists" in err


def test_a_damaged_archive_restores_nothing(made, records, tmp_path, capsys):
    made.add(upto(records, "fill"))
    file = tmp_path / "a.tar.gz"
    run(capsys, "backup", made.path, str(file))
    file.write_bytes(file.read_bytes()[:200])
    code, _, err = run(capsys, "restore", str(file), str(tmp_path / "back"))
    assert code == 1
    assert "Nothing was restored" in err
    assert not (tmp_path / "back").exists()
