"""The log's promises, each against an independent reading of its files."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
import zlib
from errno import EACCES, EIO, ENOSPC, EROFS
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import SimulatedClock
from mqd.errors import (
    LogDamaged,
    LogSchemaUnknown,
    LogWriteFailed,
    RunFolderExists,
    RunFolderUnusable,
    StateFolderTaken,
    UsageError,
)
from mqd.log_files import SystemCalls
from mqd.log_reader import log_sha256, read, repair
from mqd.transaction_log import Tier, TransactionLog, new_run_folder

HEADER = {"run_id": "r1", "code_version": "0.1.0", "config_sha256": "ab"}
FILL = {"ts": 5, "id": "a", "qty": "1", "px": "10.5", "text": 'é € \u2028 "quoted" \n line'}


class CountingCalls(SystemCalls):
    """Real calls, counted; the k-th fails with ``error``, a short write when it is None."""

    def __init__(self, fail_at: int = 0, error: int | None = None, only: str = "") -> None:
        self.count, self.fail_at, self.error, self.only = 0, fail_at, error, only
        self.seen: list[str] = []
        for name in ("mkdir", "open", "write", "fsync", "ftruncate", "close"):
            setattr(self, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def call(*args):
            self.seen.append(name)
            if name in {"ftruncate", "close"} or (self.only and name != self.only):
                return real(*args)
            self.count += 1
            if self.count != self.fail_at:
                return real(*args)
            if self.error is None and name == "write":
                return real(args[0], args[1][: len(args[1]) // 2])
            raise OSError(self.error or EIO, os.strerror(self.error or EIO))

        return call


def make_log(tmp_path: Path, n: int = 5, **options) -> tuple[Path, TransactionLog]:
    folder = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(folder, HEADER, **{"durable": False, **options})
    for number in range(n):
        log.append("fill", number, FILL | {"n": number})
    return folder, log


def lines_of(folder: Path) -> list[bytes]:
    files = sorted((folder / "log").glob("*.ndjson"))
    return b"".join(file.read_bytes() for file in files).splitlines(keepends=True)


def test_each_line_carries_seq_kind_payload_chain_and_checksum(tmp_path):
    folder, log = make_log(tmp_path, 3)
    log.close("done")
    previous = b""
    lines = lines_of(folder)
    for number, line in enumerate(lines, 1):
        record = json.loads(line)
        assert record["seq"] == number
        expected = hashlib.sha256(previous).hexdigest() if previous else "0" * 64
        assert record["prev"] == expected
        head, _, tail = line.rpartition(b',"crc":"')
        assert int(tail[:8], 16) == zlib.crc32(head)
        previous = line
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["segment.open", "fill", "fill", "fill", "segment.close"]
    first, last = json.loads(lines[0])["payload"], json.loads(lines[-1])["payload"]
    assert first == {"schema": "1.0", "segment": 1, **HEADER}
    assert (last["reason"], last["records"]) == ("done", 4)
    assert list(json.loads(lines[1])["payload"]) == [*FILL, "n"], "keys in the caller's order"


def test_modes_are_private(tmp_path):
    folder, log = make_log(tmp_path, 1)
    log.close("done")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "log").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "log/000001.ndjson").stat().st_mode) == 0o600


def test_one_write_a_record_and_it_is_on_file_when_append_returns(tmp_path):
    calls = CountingCalls()
    folder, log = make_log(tmp_path, 0, io=calls)
    for number in range(20):
        calls.seen.clear()
        log.append("report", number, {"ts": number})
        assert calls.seen == ["write"]
        assert len(lines_of(folder)) == number + 2
    log.close("done")


def test_hash_is_of_kind_time_and_payload_of_simulation_records_only(tmp_path):
    expected = hashlib.sha256()
    folder, log = make_log(tmp_path, 0)
    for number in range(4):
        log.append("fill", number, {"ts": number, "qty": "1"})
        text = f'"kind":"fill","ts":{number},"payload":{{"ts":{number},"qty":"1"}}'
        expected.update(text.encode())
        log.append("heartbeat", number, {"latency_ns": number})
    log.close("done")
    assert log.sha256 == expected.hexdigest() == log_sha256(folder)


@pytest.mark.parametrize("segment_bytes_max", [300, 64 << 20])
@pytest.mark.parametrize("with_clock", [True, False])
def test_hash_leaves_out_run_host_receive_times_and_segments(
    tmp_path, segment_bytes_max, with_clock
):
    clock = SimulatedClock(99) if with_clock else None
    folder = new_run_folder(tmp_path / "run")
    header = {"run_id": str(with_clock), "host": "h"}
    log = TransactionLog.create(
        folder, header, durable=False, clock=clock, segment_bytes_max=segment_bytes_max
    )
    memory = TransactionLog.create(None, HEADER, durable=False)
    for number in range(6):
        seq = log.append("decision", number, {"ts": number, "weight": 0.1})
        assert segment_bytes_max < 1000 or seq == memory.seq + 1
        memory.append("decision", number, {"ts": number, "weight": 0.1})
    log.close("done")
    assert log.sha256 == memory.sha256 == log_sha256(folder)
    assert (b'"utc":99,"mono":99' in lines_of(folder)[1]) == with_clock


def test_rotation_seals_and_chains_segments(tmp_path):
    folder, log = make_log(tmp_path, 40, segment_bytes_max=2_000)
    log.rotate()
    log.append("cash", 50, {"ts": 50})
    log.close("done")
    files = sorted((folder / "log").glob("*.ndjson"))
    assert len(files) > 3
    for file in files:
        own = [json.loads(line) for line in file.read_bytes().splitlines()]
        assert (own[0]["kind"], own[-1]["kind"]) == ("segment.open", "segment.close")
        assert file.stat().st_size < 4_000
    records = list(read(folder))
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [r.payload["n"] for r in records if r.kind == "fill"] == list(range(40))


def test_tiers_sync_when_they_say(tmp_path):
    calls = CountingCalls()
    folder = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(folder, HEADER, durable=True, io=calls)
    assert calls.seen == [
        "mkdir", "open", "fsync", "close",  # the log folder's own entry
        "open", "write", "fsync",  # the segment with its header
        "open", "fsync", "close",  # the segment's entry
    ]  # fmt: skip
    calls.seen.clear()
    seq = log.append("intent", 1, {"ts": 1}, Tier.D0)
    assert calls.seen == ["write", "fsync"]
    assert log.durable_seq == seq
    log.append("mark", 2, {"ts": 2}, Tier.WRITE)
    assert log.durable_seq == seq
    grouped = log.append("fill", 3, {"ts": 3}, Tier.D1)
    deadline = time.monotonic() + 5
    while log.durable_seq < grouped and time.monotonic() < deadline:
        time.sleep(0.005)
    assert log.durable_seq == grouped
    assert calls.seen.count("fsync") == 2
    log.append("mark", 4, {"ts": 4})
    log.close("done")
    assert log.durable_seq == log.seq


def test_a_repeatable_run_syncs_nothing_and_durable_follows_written(tmp_path):
    calls = CountingCalls()
    _, log = make_log(tmp_path, 3, io=calls)
    seq = log.append("intent", 1, {"ts": 1}, Tier.D0)
    assert log.durable_seq == log.seq == seq
    log.close("done")
    assert "fsync" not in calls.seen


def test_memory_log_keeps_hash_and_count_only():
    log = TransactionLog.create(None, HEADER, durable=True)
    assert log.append("fill", 1, {"ts": 1}, Tier.D0) == 2
    assert log.durable_seq == 2
    log.rotate()
    log.close("done")
    with pytest.raises(UsageError, match="closed"):
        log.append("fill", 1, {"ts": 1})


@pytest.mark.parametrize(
    "payload", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {"x": "y" * (1 << 20)}]
)
def test_what_cannot_be_written_leaves_the_log_usable(tmp_path, payload):
    folder, log = make_log(tmp_path, 1)
    with pytest.raises((TypeError, ValueError, UsageError)):
        log.append("fill", 1, payload)
    with pytest.raises(UsageError, match="lower-case"):
        log.append('x","y":"', 1, {})
    log.append("fill", 2, FILL)
    log.close("done")
    assert [record.kind for record in read(folder)].count("fill") == 2
    assert log_sha256(folder) == log.sha256


def test_after_close_nothing_is_added_and_the_folder_is_free(tmp_path):
    folder, log = make_log(tmp_path, 1)
    with pytest.raises(StateFolderTaken):
        TransactionLog.create(folder, HEADER, durable=False)
    log.close("done")
    log.close("again")
    with pytest.raises(UsageError, match="closed"):
        log.append("fill", 1, FILL)
    with pytest.raises(RunFolderExists):
        TransactionLog.create(folder, HEADER, durable=False)
    assert len(lines_of(folder)) == 3


# ── run folder ────────────────────────────────────────────────────────────────


def test_run_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/report.html").write_text("mine")
    with pytest.raises(RunFolderExists, match="exists"):
        new_run_folder(tmp_path / "run")
    assert (tmp_path / "run/report.html").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderExists):
        new_run_folder(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunFolderExists):
        new_run_folder(tmp_path / "link")


def test_run_folder_under_a_file_or_a_read_only_parent_is_unusable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderUnusable, match="file"):
        new_run_folder(tmp_path / "file" / "run")
    with pytest.raises(RunFolderUnusable, match="file"):
        new_run_folder(tmp_path / "file" / "deep" / "run")
    for error in (EACCES, EROFS):
        with pytest.raises(RunFolderUnusable, match=os.strerror(error)):
            new_run_folder(tmp_path / "run", io=CountingCalls(1, error))
    assert not (tmp_path / "run").exists()
    assert new_run_folder(tmp_path / "new" / "deep" / "run").is_dir()


def test_log_folder_that_cannot_be_made_is_unusable_and_frees_the_lock(tmp_path):
    folder = new_run_folder(tmp_path / "run")
    with pytest.raises(RunFolderUnusable, match=os.strerror(EROFS)):
        TransactionLog.create(folder, HEADER, durable=False, io=CountingCalls(1, EROFS))
    TransactionLog.create(folder, HEADER, durable=False).close("done")
    with pytest.raises(RunFolderUnusable):
        TransactionLog.create(tmp_path / "never made", HEADER, durable=False)
    with pytest.raises(RunFolderUnusable, match="no log"):
        list(read(tmp_path))


# ── faults of the disk: the k-th call fails, k = 1 until everything passes ──────


@pytest.mark.parametrize(
    ("only", "error"),
    [("write", ENOSPC), ("write", EIO), ("write", None), ("fsync", EIO), ("", EACCES)],
)
def test_every_failing_call_leaves_whole_records_and_stops_the_run(tmp_path, only, error):
    for k in range(1, 100):
        folder = new_run_folder(tmp_path / str(k))
        calls, died = CountingCalls(k, error, only), []
        acknowledged, failed = 0, False
        log = None
        try:
            log = TransactionLog.create(
                folder, HEADER, durable=True, io=calls, segment_bytes_max=900,
                die=lambda file, cause, died=died: died.append(file),
            )  # fmt: skip
            for number in range(8):
                log.append("intent", number, {"ts": number, "n": number}, Tier.D0)
                acknowledged = number + 1
            log.close("done")
        except (LogWriteFailed, RunFolderUnusable):
            failed = True
        assert failed == (calls.count >= k), f"call {k} failed in silence"
        assert bool(died) <= failed
        if log is not None and failed:
            with pytest.raises(LogWriteFailed):
                log.append("intent", 9, {"ts": 9, "n": 9}, Tier.D0)
            log.close("after the failure")
        if (folder / "log").exists() and list((folder / "log").glob("*.ndjson")):
            found = [r.payload["n"] for r in read(folder) if r.kind == "intent"]
            assert found[:acknowledged] == list(range(acknowledged))
            assert len(found) <= acknowledged + 1, "at most the record whose fsync failed"
            assert repair(folder) is None, "no torn line: it was cut back"
        if not failed:
            return
    pytest.fail("never passed")


def test_full_disk_cuts_back_to_the_last_full_record(tmp_path):
    calls = CountingCalls(4, None, "write")
    folder, log = make_log(tmp_path, 2, io=calls)
    before = lines_of(folder)
    with pytest.raises(LogWriteFailed, match="Nothing was acted on"):
        log.append("fill", 9, FILL)
    assert lines_of(folder) == before
    assert calls.seen[-1] == "ftruncate"
    log.close("disk full")
    assert lines_of(folder) == before


def test_a_failed_fsync_ends_the_process(tmp_path):
    code = f"""
import os, sys
from pathlib import Path
from mqd.log_files import SystemCalls
from mqd.transaction_log import Tier, TransactionLog, new_run_folder
class Calls(SystemCalls):
    armed = False
    def fsync(self, fd):
        if self.armed:
            raise OSError(5, "Input/output error")
        os.fsync(fd)
calls = Calls()
log = TransactionLog.create(new_run_folder({str(tmp_path / "run")!r}), {{}}, durable=True, io=calls)
calls.armed = True
try:
    log.append("intent", 1, {{"ts": 1}}, Tier.D0)
finally:
    print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 74
    assert "went on" not in done.stdout
    assert "fsync failed" in done.stderr


# ── reading: torn tails and damage ──────────────────────────────────────────────


def test_a_log_cut_in_its_last_line_is_read_to_there_and_repaired(tmp_path):
    folder, log = make_log(tmp_path, 5)
    log.close("done")
    file = folder / "log/000001.ndjson"
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(last + 1, len(whole)):
        file.write_bytes(whole[:cut])
        assert len(list(read(folder))) == 6
        done = repair(folder)
        assert done is not None
        assert Path(done.side_file).read_bytes() == whole[last:cut]
        assert file.read_bytes() == whole[:last]
        assert repair(folder) is None
        Path(done.side_file).unlink()


def test_a_torn_header_of_a_new_segment_is_cut_away(tmp_path):
    folder, log = make_log(tmp_path, 5)
    log.rotate()
    log.close("done")
    second = folder / "log/000002.ndjson"
    second.write_bytes(second.read_bytes()[:30])
    assert len(list(read(folder))) == 7
    done = repair(folder)
    assert done is not None
    assert done.cut_bytes == 30
    assert not second.exists()
    assert len(list(read(folder))) == 7


def test_damage_in_the_middle_names_file_and_line_and_touches_nothing(tmp_path):
    folder, log = make_log(tmp_path, 5)
    log.close("done")
    file = folder / "log/000001.ndjson"
    lines = lines_of(folder)
    lines[2] = lines[2].replace(b'"qty":"1"', b'"qty":"9"')
    torn = b"".join(lines) + b'{"seq":8,"ki'
    file.write_bytes(torn)
    with pytest.raises(LogDamaged, match=r"000001.ndjson, line 3: the checksum") as caught:
        repair(folder)
    assert caught.value.line == 3
    assert file.read_bytes() == torn
    assert list((folder / "log").iterdir()) == [file]


def forge(line: bytes, old: bytes, new: bytes) -> bytes:
    """Change a line and make its own checksum right again, as a forger would."""
    head = line[:-19].replace(old, new)
    return head + b',"crc":"%08x"}\n' % zlib.crc32(head)


def test_a_forged_record_breaks_the_chain(tmp_path):
    folder, log = make_log(tmp_path, 5)
    log.close("done")
    lines = lines_of(folder)
    lines[2] = forge(lines[2], b'"qty":"1"', b'"qty":"9"')
    (folder / "log/000001.ndjson").write_bytes(b"".join(lines))
    with pytest.raises(LogDamaged, match=r"line 4: the hash of the record before"):
        list(read(folder))


def test_missing_lines_missing_segments_and_strange_schemas_are_refused(tmp_path):
    folder, log = make_log(tmp_path, 10, segment_bytes_max=1_500)
    log.close("done")
    file = folder / "log/000001.ndjson"
    whole, lines = file.read_bytes(), file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(LogDamaged, match="line 3"):
        list(read(folder))
    file.write_bytes(b"".join(lines[1:]))
    with pytest.raises(LogDamaged, match="line 1"):
        list(read(folder))
    file.write_bytes(whole[:-1])
    with pytest.raises(LogDamaged, match="cut off"):
        list(read(folder))
    file.write_bytes(forge(lines[0], b'"schema":"1.0"', b'"schema":"2.0"') + whole)
    with pytest.raises(LogSchemaUnknown, match=r"'2.0'"):
        list(read(folder))
    file.write_bytes(forge(lines[0], b'"schema":"1.0"', b'"schema":"1.9"'))
    assert next(read(folder)).payload["schema"] == "1.9", "a later minor version is readable"
    file.unlink()
    with pytest.raises(LogDamaged, match=r"000002.ndjson, line 1"):
        list(read(folder))


@pytest.fixture(scope="module")
def sound_log(tmp_path_factory):
    folder, log = make_log(tmp_path_factory.mktemp("sound"), 8, segment_bytes_max=1_200)
    log.close("done")
    return folder, {f: f.read_bytes() for f in sorted((folder / "log").glob("*.ndjson"))}


def byte_at(files: dict[Path, bytes], where: float) -> tuple[Path, bytes, int]:
    """Return the file, its bytes and the offset at the fraction ``where`` of all bytes."""
    place = int(where * sum(map(len, files.values())))
    for file, data in files.items():
        if place < len(data):
            return file, data, place
        place -= len(data)
    raise AssertionError(where)


def read_until_damage(folder: Path) -> tuple[list[int], LogDamaged | None]:
    good: list[int] = []
    try:
        good.extend(record.seq for record in read(folder))
    except LogDamaged as error:
        return good, error
    return good, None


@settings(max_examples=300, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_flipped_byte_is_found_on_its_line_or_lies_in_the_torn_tail(sound_log, where, mask):
    folder, files = sound_log
    file, data, place = byte_at(files, where)
    number = data.count(b"\n", 0, place) + 1
    file.write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
    good, damage = read_until_damage(folder)
    file.write_bytes(data)
    if damage is None:
        assert file == list(files)[-1], "only the tail of the last segment may be torn"
        assert place == len(data) - 1
    else:
        assert (damage.file, damage.line) == (str(file), number)
    assert good == list(range(1, len(good) + 1)), "no good record before the damage is lost"
    assert len(list(read(folder))) > len(good)


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=300))
def test_junk_never_crashes_the_reader(sound_log, junk):
    folder, files = sound_log
    file, data = list(files.items())[-1]
    file.write_bytes(data + junk)
    good, damage = read_until_damage(folder)
    file.write_bytes(data)
    assert len(good) > 8
    assert (damage is not None) == (b"\n" in junk)
    assert damage is None or damage.line == data.count(b"\n") + 1


# ── going on with a log ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("durable", [True, False])
def test_resume_continues_seq_chain_and_hash_and_notes_the_repair(tmp_path, durable):
    folder, log = make_log(tmp_path, 5)
    log.rotate()
    log.append("fill", 8, FILL | {"n": 5})
    os.write(log._fd, b'{"seq":10,"kind":"fil')
    log._release()  # as a kill does: no closing record, the lock gone
    again = TransactionLog.resume(folder, HEADER, durable=durable)
    assert again.durable_seq == again.seq
    with pytest.raises(StateFolderTaken):
        TransactionLog.resume(folder, HEADER, durable=durable)
    again.append("fill", 9, FILL | {"n": 6}, Tier.D0)
    again.close("done")
    records = list(read(folder))
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    assert [r.payload["n"] for r in records if r.kind == "fill"] == list(range(7))
    (note,) = [r.payload for r in records if r.kind == "log.repair"]
    assert note["cut_bytes"] == 21
    assert Path(note["side_file"]).read_bytes() == b'{"seq":10,"kind":"fil'
    memory = TransactionLog.create(None, {}, durable=False)
    for n, ts_ns in enumerate([0, 1, 2, 3, 4, 8, 9]):
        memory.append("fill", ts_ns, FILL | {"n": n})
    assert again.sha256 == log_sha256(folder) == memory.sha256


@pytest.mark.parametrize("only", ["write", "fsync", "open"])
def test_a_recovery_that_fails_anywhere_can_be_run_again(tmp_path, only):
    for k in range(1, 40):
        folder, log = make_log(tmp_path / str(k), 3)
        os.write(log._fd, b"torn")
        log._release()
        calls = CountingCalls(k, EIO, only)
        died: list[str] = []
        try:
            TransactionLog.resume(
                folder, HEADER, durable=True, io=calls,
                die=lambda file, cause, died=died: died.append(file),
            ).close("done")  # fmt: skip
        except LogWriteFailed:
            assert calls.count >= k
        else:
            assert calls.count < k
        again = TransactionLog.resume(folder, HEADER, durable=True)
        again.close("done")
        found = [r.payload["n"] for r in read(folder) if r.kind == "fill"]
        assert found == [0, 1, 2]
        if calls.count < k:
            return
    pytest.fail("never passed")


def test_resume_refuses_a_damaged_log_and_frees_the_folder(tmp_path):
    folder, log = make_log(tmp_path, 5)
    log.close("done")
    file = folder / "log/000001.ndjson"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"n":2', b'"n":9'))
    for _ in range(2):
        with pytest.raises(LogDamaged, match="line 4"):
            TransactionLog.resume(folder, HEADER, durable=False)
    assert sorted(path.name for path in (folder / "log").iterdir()) == ["000001.ndjson"]
    file.write_bytes(whole)
    TransactionLog.resume(folder, HEADER, durable=False).close("done")


WRITER = """
import os, sys
from mqd.transaction_log import Tier, TransactionLog, new_run_folder
log = TransactionLog.create(
    new_run_folder(sys.argv[1]), {}, durable=False, segment_bytes_max=20_000)
number = 0
while True:
    log.append("intent", number, {"ts": number, "n": number})
    os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.parametrize("round_number", range(4))
def test_kill_9_loses_no_acknowledged_record(tmp_path, round_number):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        time.sleep(0.02 * (round_number + 1))
        process.kill()
        said += process.stdout.read()
    acknowledged = said.count(b"\n")
    assert acknowledged > 1
    repair(folder)
    found = [record.payload["n"] for record in read(folder) if record.kind == "intent"]
    assert found == list(range(len(found)))
    assert acknowledged <= len(found) <= acknowledged + 1
