"""Archives of a state folder: made beside a running desk, verified, restored to the same books."""

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest

import mqd
from mqd.errors import LogDamaged, RunFolderExists, UsageError
from mqd.live.backup import back_up, restore, verify_archive
from mqd.live.errors import ArchiveDamaged, ArchiveFailed, NoStateFolder
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.status import read_latches, read_status
from mqd.log_reader import log_sha256, read
from mqd.positions.store import PositionStore
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.strategy.library.sma_cross import SmaCross
from mqd.transaction_log import TransactionLog

DATA = "datasets/us_equity_daily_raw.parquet"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run's log and store, to be copied."""
    folder = tmp_path_factory.mktemp("source") / "run"
    bars = mqd.load_bars(DATA, symbols=["IBM"], start="2009-01-02", end="2010-12-31")
    mqd.backtest(SmaCross(fast=5, slow=20), bars, engine="event", out=folder)
    return folder


@pytest.fixture
def state(tmp_path, source):
    """A state folder whose desk has stopped, its log in two segments and the store level."""
    with StateFolder.open(tmp_path / "state", account=account_sha256("A1"), mode="paper") as held:
        log = TransactionLog.create(held.path, {"mode": "paper", "code": "1"}, durable=False)
        store = PositionStore.create(held.path, tip=log.tip, durable=False)
        for number, record in enumerate(read(source)):
            if not record.kind.startswith("segment."):
                seq = log.append(record.kind, record.ts_ns, record.payload)
                store.apply(seq, record.kind, record.ts_ns, record.payload)
            if number == 60:
                log.rotate()
        log.close("stopped")
        store.close()
        KillSwitch(held.path / "latches").trip("loss", 5, LatchLevel.HALT)
    (tmp_path / "state/config.toml").write_text("cash = 1\n")
    return tmp_path / "state"


def test_what_is_restored_is_what_was_backed_up(state, tmp_path):
    made = back_up(state, tmp_path / "a.tar.gz", 77)
    done = restore(tmp_path / "a.tar.gz", tmp_path / "back/again")
    assert made.seq == done.seq == read_status(state, 0).seq > 100
    assert log_sha256(tmp_path / "back/again") == log_sha256(state)
    here, there = (PositionStore(f / "store.sqlite") for f in (state, tmp_path / "back/again"))
    assert here.compare(there) == []
    assert len(here.positions()) == 1
    here.close()
    there.close()
    assert read_latches(tmp_path / "back/again") == ((LatchLevel.HALT, 5, "loss"),)
    assert (tmp_path / "back/again/config.toml").read_text() == "cash = 1\n"
    with StateFolder.open(tmp_path / "back/again", account=account_sha256("A1"), mode="paper"):
        assert read_status(tmp_path / "back/again", 0).mode == "paper"


def test_an_archive_is_private_and_holds_neither_locks_nor_room(state, tmp_path):
    (state / "paper.keys").write_text("secret")
    back_up(state, tmp_path / "a.tar.gz", 77)
    assert (tmp_path / "a.tar.gz").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))
    assert names[0] == "manifest.json"
    assert set(names[1:]) == set(manifest["files"]) == {
        "account.json", "config.toml", "latches/halt.latch", "log/000001.ndjson",
        "log/000002.ndjson", "store.sqlite",
    }  # fmt: skip
    assert manifest["account_sha256"] == account_sha256("A1")
    assert (manifest["mode"], manifest["made_ns"]) == ("paper", 77)
    text = (state / "log/000002.ndjson").read_bytes()
    assert manifest["files"]["log/000002.ndjson"] == {
        "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()
    }  # fmt: skip
    assert manifest["log"]["sha256"] == hashlib.sha256(text.splitlines(True)[-1]).hexdigest()


def test_a_backup_beside_a_writing_desk_ends_with_a_full_record(state, tmp_path):
    with StateFolder.open(state, account=account_sha256("A1"), mode="paper") as held:
        log = TransactionLog.resume(held.path, {"mode": "paper"}, durable=False)
        log.append("mark", 1, {})
        last = max((state / "log").glob("*.ndjson"))
        fd = os.open(last, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b'{"seq":999,"kind":"fi')
        os.close(fd)
        made = back_up(state, tmp_path / "a.tar.gz", 77)
        assert made.seq == log.seq
        log.close("stopped")
    assert restore(tmp_path / "a.tar.gz", tmp_path / "back").seq == made.seq
    assert list((tmp_path / "back/log").glob("*.torn*")) == []


def test_a_store_behind_the_log_is_brought_level(state, tmp_path):
    (state / "store.sqlite").unlink()
    PositionStore.create(state).close()
    back_up(state, tmp_path / "a.tar.gz", 77)
    restore(tmp_path / "a.tar.gz", tmp_path / "back")
    store, whole = PositionStore(tmp_path / "back/store.sqlite"), PositionStore.rebuild(state)
    assert store.compare(whole) == []
    assert store.applied_seq == whole.applied_seq > 50
    store.close()
    whole.close()


def test_nothing_is_overwritten(state, tmp_path):
    (tmp_path / "a.tar.gz").write_text("old")
    with pytest.raises(UsageError, match="never overwritten"):
        back_up(state, tmp_path / "a.tar.gz", 77)
    assert (tmp_path / "a.tar.gz").read_text() == "old"
    back_up(state, tmp_path / "b.tar.gz", 77)
    with pytest.raises(RunFolderExists):
        restore(tmp_path / "b.tar.gz", state)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunFolderExists):
        restore(tmp_path / "b.tar.gz", tmp_path / "link")


def test_a_damaged_log_is_not_archived(state, tmp_path):
    file = state / "log/000001.ndjson"
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"kind":"intent"', b'"kind":"intenT"', 1))
    with pytest.raises(LogDamaged):
        back_up(state, tmp_path / "a.tar.gz", 77)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_what_is_no_state_folder_is_not_archived(tmp_path):
    with pytest.raises(NoStateFolder):
        back_up(tmp_path, tmp_path / "a.tar.gz", 77)


def test_an_archive_that_cannot_be_written_is_a_sentence(state, tmp_path):
    with pytest.raises(ArchiveFailed, match="untouched"):
        back_up(state, tmp_path / "none/a.tar.gz", 77)


def parts_of(file):
    """Return the members of an archive as (name, bytes)."""
    with tarfile.open(file) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def packed(file, parts, link=None):
    """Write an archive of (name, bytes); ``link`` adds a symbolic link."""
    with tarfile.open(file, "w:gz") as tar:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(info)
    return file


def refused(file, tmp_path, match):
    """Assert that a restore refuses the archive and leaves nothing behind."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArchiveDamaged, match=match):
        restore(file, tmp_path / "back")
    assert sorted(tmp_path.iterdir()) == before


def test_a_changed_byte_is_found_wherever_it_is(state, tmp_path):
    back_up(state, tmp_path / "a.tar.gz", 77)
    parts = parts_of(tmp_path / "a.tar.gz")
    for place, (name, data) in list(enumerate(parts))[1:]:
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        other = [*parts[:place], (name, bytes(changed)), *parts[place + 1 :]]
        file = packed(tmp_path / "b.tar.gz", other)
        refused(file, tmp_path, "not what the manifest says")


def test_a_log_that_was_changed_together_with_its_manifest_is_found(state, tmp_path):
    back_up(state, tmp_path / "a.tar.gz", 77)
    parts = dict(parts_of(tmp_path / "a.tar.gz"))
    name = "log/000002.ndjson"
    manifest = json.loads(parts["manifest.json"])
    for data, match in (
        (parts[name].replace(b'"kind":"intent"', b'"kind":"intenT"', 1), "checksum"),
        (b"".join(parts[name].splitlines(True)[:-1]), "its log ends at record"),
    ):
        said = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        changed = manifest | {"files": manifest["files"] | {name: said}}
        other = parts | {"manifest.json": json.dumps(changed).encode(), name: data}
        refused(packed(tmp_path / "b.tar.gz", other.items()), tmp_path, match)


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "log/../../x", "notes.txt", "latches/a/b"])
def test_no_name_leads_out_of_the_folder(state, tmp_path, name):
    back_up(state, tmp_path / "a.tar.gz", 77)
    (_, text), *parts = parts_of(tmp_path / "a.tar.gz")
    manifest = json.loads(text)
    manifest["files"][name] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    other = [("manifest.json", json.dumps(manifest).encode()), *parts, (name, b"x")]
    refused(packed(tmp_path / "b.tar.gz", other), tmp_path, "unannounced")


def test_members_that_are_missing_doubled_or_links_are_found(state, tmp_path):
    back_up(state, tmp_path / "a.tar.gz", 77)
    parts = parts_of(tmp_path / "a.tar.gz")
    refused(packed(tmp_path / "b.tar.gz", parts[:-1]), tmp_path, "store.sqlite is missing")
    refused(packed(tmp_path / "b.tar.gz", [*parts, parts[-1]]), tmp_path, "unannounced")
    linked = packed(tmp_path / "b.tar.gz", parts[:-1], ("store.sqlite", "/etc/passwd"))
    refused(linked, tmp_path, "unannounced")


def test_an_archive_cut_off_anywhere_is_a_sentence(state, tmp_path):
    data = back_up(state, tmp_path / "a.tar.gz", 77).file.read_bytes()
    for keep in (0, 5, 100, len(data) // 2, len(data) * 3 // 4):
        (tmp_path / "b.tar.gz").write_bytes(data[:keep])
        with pytest.raises(ArchiveDamaged):
            verify_archive(tmp_path / "b.tar.gz")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not whole"), ("{}", "not whole"), ("[]", "not whole"),
        ('{"schema": "2", "log": {"seq": 0}, "files": {}}', "schema '2'"),
        ('{"schema": "1", "log": {"seq": "x"}, "files": {}}', "not whole"),
        ('{"schema": "1", "log": {"seq": 1}, "files": {"a": {}}}', "not whole"),
        ('{"schema": "1", "log": {"seq": 3, "sha256": ""}, "files": {}}', "its log ends"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_a_sentence(tmp_path, text, match):
    file = packed(tmp_path / "b.tar.gz", [("manifest.json", text.encode())])
    refused(file, tmp_path, match)


def test_another_file_is_no_archive(tmp_path):
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(b"hello"))
    refused(tmp_path / "b.tar.gz", tmp_path, r"cannot be read|does not begin")
    with pytest.raises(UsageError, match="no such archive"):
        restore(tmp_path / "none.tar.gz", tmp_path / "back")
