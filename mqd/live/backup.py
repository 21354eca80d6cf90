"""An archive of a state folder: log, store, configuration and latches, with a manifest of hashes.

It may be made while a desk trades: the store is copied first, by SQLite's own backup, then the log
up to its last full line, so the store is level with the log or behind it, and a restore brings it
level. Keys are in no state folder and in no archive. The manifest is the archive's first member:

    {"schema": "1", "made_ns": ..., "account_sha256": ..., "mode": ..., "log": {"seq", "sha256"},
     "files": {"log/000001.ndjson": {"bytes": ..., "sha256": ...}, ...}}
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from mqd.errors import MqdError, RunFolderExists, UsageError
from mqd.live.errors import ArchiveDamaged, ArchiveFailed
from mqd.live.folder import ACCOUNT_FILE, LATCHES, sync_folder
from mqd.live.status import check_folder, copy_store
from mqd.log_reader import Verifier, read, repair
from mqd.positions.store import FILE_NAME, PositionStore

SCHEMA: Final = "1"
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 16 << 20
COPY_BYTES: Final = 1 << 20
LOG_FILES: Final = ("log/*.ndjson", "log/*.torn*")
OTHER_FILES: Final = (
    ACCOUNT_FILE, "config.toml", "mqd.jsonl", f"{LATCHES}/*.latch", f"{LATCHES}/*.latch.reset-*",
    f"{LATCHES}/rearms.ndjson",
)  # fmt: skip
MEMBER: Final = re.compile(
    r"log/[0-9]{6}\.(ndjson|torn[0-9]*)|store\.sqlite|account\.json|config\.toml|mqd\.jsonl"
    r"|latches/([a-z_]+\.latch(\.reset-[0-9]+)?|rearms\.ndjson)"
)
"""The only names that an archive may hold: none leads out of the folder."""


class Archived(NamedTuple):
    """An archive: its file, the number of its files, their bytes and the last record's seq."""

    file: Path
    n_files: int
    n_bytes: int
    seq: int


def back_up(folder: str | Path, file: str | Path, now_ns: int) -> Archived:
    """Write an archive of ``folder`` to ``file`` (mode 0600) and verify it; ``now_ns``: wall clock.

    A desk may hold the folder. Raises ``NoStateFolder``, ``UsageError`` when ``file`` exists,
    ``LogDamaged`` for a log that is not whole (nothing is written), ``ArchiveFailed``.
    """
    source, target = check_folder(folder), Path(file)
    if target.exists():
        raise UsageError(f"{target} exists. An archive is never overwritten: name a new file.")
    part = target.with_name(f".{target.name}.part")
    try:
        with tempfile.TemporaryDirectory(prefix="mqd-backup-", dir=target.parent) as scratch:
            copy = Path(scratch)
            _copy(source, copy)
            verifier = _verify_log(copy)
            manifest = _manifest(copy, verifier, now_ns)
            _pack(copy, manifest, part)
        done = verify_archive(part)
        os.link(part, target)
        sync_folder(target.parent)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise ArchiveFailed(str(target), str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return done._replace(file=target)


def verify_archive(file: str | Path) -> Archived:
    """Verify each file's hash and the log's chain; raise ``ArchiveDamaged`` with what is wrong."""
    with tempfile.TemporaryDirectory(prefix="mqd-archive-") as scratch:
        return _unpack(Path(file), Path(scratch))


def restore(file: str | Path, folder: str | Path) -> Archived:
    """Make the folder of an archive anew; the store is brought level with the log.

    Nothing is left behind when it fails. Raises ``RunFolderExists`` (an existing folder is never
    touched) and ``ArchiveDamaged``.
    """
    source, target = Path(file), Path(folder).absolute()
    if target.is_symlink() or target.exists():
        raise RunFolderExists(str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with _staging(target) as stage:
        done = _unpack(source, stage)
        try:
            if done.seq:
                repair(stage)
                PositionStore.recover(stage).close()
        except MqdError as error:
            raise ArchiveDamaged(str(source), f"its store cannot be rebuilt: {error}") from error
        for path in sorted(stage.rglob("*")):
            _sync(path)
        sync_folder(stage)
        os.rename(stage, target)  # noqa: PTH104 - refuses a folder that is not empty
        sync_folder(target.parent)
    return done


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """Hold a private folder beside the target, which is gone or renamed afterwards."""
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copy(source: Path, copy: Path) -> None:
    """Copy what belongs into an archive: store first, then the log, so no fill is missing."""
    if (source / FILE_NAME).exists():
        copy_store(source / FILE_NAME, copy / FILE_NAME)
    for pattern in (*OTHER_FILES, *LOG_FILES):
        for path in sorted(source.glob(pattern)):
            into = copy / path.relative_to(source)
            into.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, into, follow_symlinks=False)
    segments = sorted((copy / "log").glob("*.ndjson"))
    if segments:
        _cut_to_full_line(segments[-1])


def _cut_to_full_line(path: Path) -> None:
    """Drop the line that the desk was writing; an empty segment has no header yet."""
    data = path.read_bytes()
    keep = data.rfind(b"\n") + 1
    if keep:
        os.truncate(path, keep)
    else:
        path.unlink()


def _verify_log(folder: Path) -> Verifier:
    verifier = Verifier()
    if any((folder / "log").glob("*.ndjson")):
        for _ in read(folder, verifier):
            pass
    return verifier


def _manifest(copy: Path, verifier: Verifier, now_ns: int) -> dict[str, Any]:
    names = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    account = copy / ACCOUNT_FILE
    said = json.loads(account.read_bytes()) if account.exists() else {}
    return {
        "schema": SCHEMA, "made_ns": now_ns, "account_sha256": said.get("account_sha256", ""),
        "mode": said.get("mode", ""), "log": {"seq": verifier.seq, "sha256": verifier.prev},
        "files": {
            name: {"bytes": (copy / name).stat().st_size, "sha256": _sha256(copy / name)}
            for name in names
        },
    }  # fmt: skip


def _pack(copy: Path, manifest: dict[str, Any], part: Path) -> None:
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(manifest, indent=1).encode()
            _add(tar, MANIFEST, len(text), io.BytesIO(text))
            for name, said in manifest["files"].items():
                with (copy / name).open("rb") as file:
                    _add(tar, name, said["bytes"], file)
        out.flush()
        os.fsync(out.fileno())


def _add(tar: tarfile.TarFile, name: str, size: int, file: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, file)


def _unpack(source: Path, into: Path) -> Archived:
    """Unpack an archive into an empty folder, every byte compared with the manifest."""
    try:
        with tarfile.open(source, mode="r:gz") as tar:
            manifest = _read_manifest(source, tar.next(), tar)
            files: dict[str, Any] = manifest["files"]
            waiting = dict(files)
            while (member := tar.next()) is not None:
                said = waiting.pop(member.name, None)
                if said is None or not member.isreg() or not MEMBER.fullmatch(member.name):
                    raise ArchiveDamaged(str(source), f"it holds {member.name!r}, unannounced")
                _write_out(source, tar, member, said, into)
    except FileNotFoundError as error:
        raise UsageError(f"{source}: there is no such archive.") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ArchiveDamaged(str(source), f"it cannot be read ({error})") from error
    if waiting:
        raise ArchiveDamaged(str(source), f"{min(waiting)} is missing")
    _compare_log(source, into, manifest["log"])
    total = sum(said["bytes"] for said in files.values())
    return Archived(source, len(files), total, manifest["log"]["seq"])


def _read_manifest(
    source: Path, member: tarfile.TarInfo | None, tar: tarfile.TarFile
) -> dict[str, Any]:
    if member is None or member.name != MANIFEST or member.size > MANIFEST_BYTES_MAX:
        raise ArchiveDamaged(str(source), f"it does not begin with {MANIFEST}: no archive of mqd")
    file = tar.extractfile(member)
    try:
        manifest: dict[str, Any] = json.loads(file.read() if file is not None else b"")
        schema, seq = manifest["schema"], manifest["log"]["seq"]
        whole = all(
            isinstance(said["bytes"], int) and isinstance(said["sha256"], str)
            for said in manifest["files"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveDamaged(str(source), f"its {MANIFEST} is not whole ({error!r})") from error
    if schema != SCHEMA:
        raise ArchiveDamaged(str(source), f"it has schema {schema!r}, this version reads {SCHEMA}")
    if not whole or not isinstance(seq, int):
        raise ArchiveDamaged(str(source), f"its {MANIFEST} is not whole")
    return manifest


def _write_out(
    source: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, said: dict[str, Any], into: Path
) -> None:
    """Write one member, at most the announced bytes of it, and compare its hash."""
    path = into / member.name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = tar.extractfile(member)
    assert file is not None
    if member.size != said["bytes"]:
        raise ArchiveDamaged(str(source), f"{member.name} has {member.size:,} bytes")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    digest = hashlib.sha256()
    with os.fdopen(fd, "wb") as out:
        while chunk := file.read(COPY_BYTES):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != said["sha256"]:
        raise ArchiveDamaged(str(source), f"{member.name} is not what the manifest says")


def _compare_log(source: Path, folder: Path, said: dict[str, Any]) -> None:
    """Verify the log's chain and that it ends where the manifest says."""
    try:
        verifier = _verify_log(folder)
    except MqdError as error:
        raise ArchiveDamaged(str(source), str(error)) from error
    if (verifier.seq, verifier.prev) != (said["seq"], said.get("sha256")):
        raise ArchiveDamaged(
            str(source), f"its log ends at record {verifier.seq}, the manifest says {said['seq']}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
