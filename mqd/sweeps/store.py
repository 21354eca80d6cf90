"""Where a sweep's rows go while it runs: memory, or parts of a file that survive any kill.

A sweep with ``resume="x.parquet"`` owns the folder ``x.parquet.parts`` beside it until it ends:
``identity.json`` (which sweep this is), ``lock`` (held by the process that writes) and one part
a chunk. A part is written under a temporary name, synced, renamed, and its folder synced: at any
moment it is there whole or not at all. At the end all parts are merged into ``x.parquet`` in the
same way, then the folder goes. A part is named by the combinations that it holds, so a resumed
sweep may cut its chunks otherwise.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from mqd.errors import RunFolderUnusable, StateFolderTaken, UsageError
from mqd.log_files import lock_folder
from mqd.sweeps import parts as parts_of
from mqd.sweeps.errors import SweepFileDiffers, SweepFileTaken, SweepWriteFailed
from mqd.sweeps.parts import Layout, Part, Span

IDENTITY: Final = "identity.json"
ROW_GROUP: Final = 16_384
MIB: Final = 2**20


class Store(Protocol):
    """Takes parts in order of combinations, gives them back by dataset."""

    @property
    def is_whole(self) -> bool:
        """True when the whole sweep is there already."""

    def done(self, dataset: int) -> int:
        """Return how many combinations of a dataset are kept, counted from the first."""

    def add(self, part: Part) -> None:
        """Keep a part; ``SweepWriteFailed`` when the disk refuses it."""

    def parts(self, dataset: int, *, moments: bool) -> Iterator[Part]:
        """Yield the parts of a dataset in order; without ``moments`` those are empty."""

    def finish(self, *, whole: bool) -> None:
        """End: merge when the sweep is ``whole``; let go of the file."""


class MemoryStore:
    """Keeps parts in memory up to ``memory_mb``, all in files of a temporary folder beyond."""

    def __init__(self, layout: Layout, memory_mb: float) -> None:
        self._layout = layout
        self._bytes_max = memory_mb * MIB
        self._bytes = 0
        self._held: dict[Span, Part | Path] = {}
        self._reached: dict[int, int] = {}
        self._folder: Path | None = None

    is_whole = False

    def done(self, dataset: int) -> int:
        """Return how many combinations of a dataset are kept."""
        return self._reached.get(dataset, 0)

    def add(self, part: Part) -> None:
        """Keep a part."""
        self._bytes += part.n_bytes
        self._held[part.span] = part
        self._reached[part.dataset] = part.first + part.n
        if self._bytes > self._bytes_max:
            self._spill()

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mqd-sweep-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for span, part in self._held.items():
            if isinstance(part, Part):
                path = self._folder / span.file_name
                try:
                    path.write_bytes(parts_of.encoded(part, self._layout))
                except OSError as error:
                    raise SweepWriteFailed(str(path), 0, error) from error
                self._held[span] = path
        self._bytes = 0

    def parts(self, dataset: int, *, moments: bool) -> Iterator[Part]:
        """Yield the parts of a dataset in order."""
        for span, part in self._held.items():
            if span.dataset == dataset:
                yield part if isinstance(part, Part) else parts_of.read(part, span, moments=moments)

    def finish(self, *, whole: bool) -> None:
        """Nothing is left to do."""


class FileStore:
    """Keeps parts in a folder beside ``path`` and merges them into it; see the module.

    ``identity``: what decides the numbers, by name, as text. A file or folder of another
    identity raises ``SweepFileDiffers``, one in use ``SweepFileTaken``.
    """

    def __init__(
        self, path: str | os.PathLike[str], layout: Layout, identity: Mapping[str, str]
    ) -> None:
        self._lock: int | None = None
        self.path = Path(path)
        self._layout = layout
        self._identity = dict(identity)
        self.folder = self.path.with_name(f"{self.path.name}.parts")
        self._spans: list[Span] = []
        self._reached: dict[int, int] = {}
        self._groups: list[list[Span]] = []
        if self.path.suffix != ".parquet":
            raise UsageError(f"{self.path}: a sweep is kept in a .parquet file; name one.")
        try:
            if self.path.exists():
                self._open_whole()
            else:
                self._open_parts()
        except BaseException:
            self._release()
            raise

    def __del__(self) -> None:
        self._release()

    @property
    def is_whole(self) -> bool:
        """True when the file holds the whole sweep already."""
        return bool(self._groups)

    def _open_whole(self) -> None:
        meta = parts_of.metadata(self.path)
        if meta is None:
            raise UsageError(f"{self.path} exists and is no sweep's file. Name another.")
        self._compare(meta["identity"])
        self._groups = [[Span(*span) for span in group] for group in meta["groups"]]
        self._found([span for group in self._groups for span in group])
        if self.folder.exists():
            self._take()
            self._drop_folder()

    def _open_parts(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be made: {error.strerror}.") from error
        self._take()
        file = self.folder / IDENTITY
        if file.exists():
            self._compare(json.loads(file.read_bytes()))
        else:
            self._write(file, json.dumps(self._identity, indent=1).encode())
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        found = sorted(filter(None, map(Span.of_file, self.folder.glob("*.parquet"))))
        self._found([span for span in found if parts_of.is_whole(self.folder / span.file_name)])

    def _found(self, spans: list[Span]) -> None:
        """Take over the parts that follow each other from the first combination on."""
        for span in spans:
            if span.first == self.done(span.dataset):
                self._kept(span)

    def _kept(self, span: Span) -> None:
        self._spans.append(span)
        self._reached[span.dataset] = span.first + span.n

    def _take(self) -> None:
        """Lock the folder; one that another process removed meanwhile is made anew."""
        try:
            while self._lock is None:
                fd = lock_folder(self.folder)
                try:
                    there = (self.folder / "lock").stat().st_ino == os.fstat(fd).st_ino
                except FileNotFoundError:
                    there = False
                if there:
                    self._lock = fd
                else:
                    os.close(fd)
                    self.folder.mkdir(exist_ok=True)
        except StateFolderTaken as error:
            raise SweepFileTaken(str(self.path)) from error
        except RunFolderUnusable as error:
            raise UsageError(f"{self.path} cannot be written: {error}") from error

    def _release(self) -> None:
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    def _compare(self, theirs: Mapping[str, str]) -> None:
        differences = [
            f"{name}: {theirs.get(name, 'absent')} there, {self._identity.get(name, 'absent')} here"
            for name in {**theirs, **self._identity}
            if theirs.get(name) != self._identity.get(name)
        ]
        if differences:
            raise SweepFileDiffers(str(self.path), differences)

    def done(self, dataset: int) -> int:
        """Return how many combinations of a dataset are kept, counted from the first."""
        return self._reached.get(dataset, 0)

    def add(self, part: Part) -> None:
        """Make a part durable; ``SweepWriteFailed`` leaves those before it as they are."""
        self._write(self.folder / part.span.file_name, parts_of.encoded(part, self._layout))
        self._kept(part.span)

    def _write(self, file: Path, data: bytes | memoryview) -> None:
        try:
            _durable(file, data)
        except OSError as error:
            kept = sum(self._reached.values())
            self._release()
            raise SweepWriteFailed(str(self.path), kept, error) from error

    def parts(self, dataset: int, *, moments: bool) -> Iterator[Part]:
        """Yield the parts of a dataset in order."""
        if self.is_whole:
            for number, group in enumerate(self._groups):
                if group[0].dataset == dataset:
                    yield parts_of.read_group(self.path, number, group, moments=moments)
            return
        for span in self._spans:
            if span.dataset == dataset:
                yield parts_of.read(self.folder / span.file_name, span, moments=moments)

    def finish(self, *, whole: bool) -> None:
        """Merge the parts into the file when the sweep is ``whole``; let go of it."""
        if whole and not self.is_whole:
            groups = list(_grouped(sorted(self._spans)))
            temporary = self.folder / "whole.tmp"
            try:
                files = [[self.folder / span.file_name for span in group] for group in groups]
                parts_of.merge(temporary, files, {"identity": self._identity, "groups": groups})
                _renamed(temporary, self.path)
            except OSError as error:
                kept = sum(self._reached.values())
                self._release()
                raise SweepWriteFailed(str(self.path), kept, error) from error
            self._groups = groups
            self._drop_folder()
        self._release()

    def _drop_folder(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()
        self._release()


def _grouped(spans: list[Span]) -> Iterator[list[Span]]:
    """Yield neighbouring parts of one dataset together, up to ``ROW_GROUP`` combinations."""
    group: list[Span] = []
    for span in spans:
        if group and (group[0].dataset != span.dataset or sum(one.n for one in group) >= ROW_GROUP):
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _durable(file: Path, data: bytes | memoryview) -> None:
    """Write a file so that after any kill it is there whole or not at all."""
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        _renamed(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _renamed(temporary: Path, file: Path) -> None:
    """Give a written file its name, and make the name durable."""
    with temporary.open("rb") as whole:
        os.fsync(whole.fileno())
    temporary.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
