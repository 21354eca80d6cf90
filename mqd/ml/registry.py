"""``ModelRegistry``: model versions that do not change, and what became of each.

A folder: ``NAME/SHA256/model.skops`` (or ``.onnx``) with ``manifest.json`` beside it, and
``registry.ndjson``, to which a line is added for each version and each change of stage. A line
names the hash of the one before it and of the manifest, so that a file, a manifest or a line that
was edited is noticed. Files are read once: the bytes whose hash was checked are the bytes that run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from mqd.core.clock import WallClock
from mqd.errors import ModelRefused, UsageError, did_you_mean
from mqd.ml.child import ModelChild, ModelFailed
from mqd.ml.engineer import FeatureEngineer
from mqd.ml.labels import Label, label_spec
from mqd.ml.manifest import (
    Manifest,
    Training,
    code_sha256,
    library_versions,
    manifest_of,
    plain,
)
from mqd.ml.model_file import ModelFile, kind_of, read_model_file

JOURNAL: Final = "registry.ndjson"
MANIFEST: Final = "manifest.json"
STAGES: Final = ("shadow", "candidate", "champion", "retired")
MOVES: Final[Mapping[str, frozenset[str]]] = {
    "shadow": frozenset({"candidate", "retired"}),
    "candidate": frozenset({"shadow", "champion", "retired"}),
    "champion": frozenset({"retired"}),
    "retired": frozenset({"shadow", "champion"}),
}
"""From each stage where a version may go. A former champion may come back: that is a rollback."""
LOAD_MEMORY_MB: Final = 2048


class ModelVersion(NamedTuple):
    """One version: its name, the hash of its file, its stage and its manifest."""

    name: str
    sha256: str
    stage: str
    manifest: Manifest

    @property
    def reference(self) -> str:
        """``NAME@SHA256``, as strategies and records name it."""
        return f"{self.name}@{self.sha256}"

    @property
    def engineer(self) -> FeatureEngineer:
        """The features that it was trained on."""
        return FeatureEngineer.from_spec(self.manifest.features)


class _Line(NamedTuple):
    """One line of the journal."""

    kind: str
    name: str
    sha256: str
    manifest_sha256: str
    stage: str
    reason: str
    by: str
    ns: int


class ModelRegistry:
    """The versions in ``folder``, which is made when it is missing.

    For any number of processes: lines are added under a lock. Raises ``ModelRefused`` for what is
    not let in or was changed, ``UsageError`` for a name or version that is not there.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    # --- in ----------------------------------------------------------------------------------

    def save(self, estimator: Any, **words: Any) -> ModelVersion:
        """Write a fitted scikit-learn estimator with skops and register it; words as there."""
        from skops import io

        with tempfile.TemporaryDirectory(prefix="mqd-model-") as scratch:
            file = Path(scratch) / "model.skops"
            io.dump(estimator, file)
            return self.register(file, **words)

    def register(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "model",
        features: FeatureEngineer | None = None,
        label: Label | None = None,
        training: Training | None = None,
        metrics: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        note: str = "",
        author: str = "",
    ) -> ModelVersion:
        """Take a model file in as a version of ``name``, in the stage "shadow"; return it.

        The file is loaded once, in a process that is shut off, and held against ``features``.
        The same file again is the same version, with the manifest that it has. Raises
        ``ModelRefused``: a pickle, an untrusted type, a damaged or too large file, other features.
        """
        file = read_model_file(path)
        if not name.isidentifier() or not name.islower():
            raise UsageError(f"A model's name is a lower-case identifier, not {name!r}.")
        if features is None:
            raise ModelRefused(file.name, "name the features it takes: features=FeatureEngineer().")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = [one for one in self.versions(name) if one.sha256 == file.sha256]
        if known:
            return known[0]
        said = _said_of(file, features)
        manifest = Manifest(
            name=name, sha256=file.sha256, kind=file.kind, estimator=said["estimator"],
            output=said["output"], row_exact=said["row_exact"],
            trusted_types=said["trusted_types"], features=features.spec(),
            schema_sha256=features.schema.sha256,
            label=None if label is None else label_spec(label), threshold=threshold,
            training=None if training is None else training._asdict(),
            metrics=plain(metrics or {}, "metrics"), code_sha256=code_sha256(),
            versions=library_versions(), note=note, author=author,
        )  # fmt: skip
        self._keep(file, manifest)
        text = manifest.text()
        line = _Line(
            "register", name, file.sha256, _sha256(text.encode()), "shadow", note or "registered",
            author, WallClock().now_ns(),
        )  # fmt: skip
        with self._locked() as fd:
            _append(fd, self._lines(), line)
        return self.get(f"{name}@{file.sha256}")

    def move(self, reference: str, stage: str, reason: str, *, by: str = "") -> ModelVersion:
        """Move a version to ``stage`` and say why; a champion takes the place of the one before.

        Raises ``UsageError`` for a stage that is not there, a move that is not one of
        ``MOVES``, and an empty reason.
        """
        if stage not in STAGES:
            raise UsageError(f"No stage {stage!r}.{did_you_mean(stage, STAGES)}")
        if not reason.strip():
            raise UsageError("A version changes its stage for a reason: say it.")
        with self._locked() as fd:
            lines = self._lines()
            version = self._get(lines, reference)
            if stage not in MOVES[version.stage]:
                raise UsageError(
                    f"{version.name}@{version.sha256[:12]} is {version.stage}; from there it goes"
                    f" to {' or '.join(sorted(MOVES[version.stage]))}, not to {stage}."
                )
            if stage == "champion":
                for one in self._versions(lines, version.name):
                    if one.stage == "champion":
                        why = f"followed by {version.sha256[:12]}: {reason}"
                        _append(fd, lines, self._stage_line(lines, one, "retired", why, by))
            _append(fd, lines, self._stage_line(lines, version, stage, reason, by))
        return self.get(version.reference)

    def _stage_line(
        self, lines: list[_Line], version: ModelVersion, stage: str, reason: str, by: str
    ) -> _Line:
        now_ns = WallClock().now_ns()
        digest = _manifest_hash(lines, version.name, version.sha256)
        return _Line("stage", version.name, version.sha256, digest, stage, reason, by, now_ns)

    # --- out ---------------------------------------------------------------------------------

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Return all versions, of one name when it is given, in order of registration."""
        return self._versions(self._lines(), name)

    def get(self, reference: str) -> ModelVersion:
        """Return a version: ``name`` (its champion, else its newest) or ``name@sha256``, of which
        a beginning is enough."""
        return self._get(self._lines(), reference)

    def champion(self, name: str) -> ModelVersion | None:
        """Return the champion of a name, None without one."""
        return next((one for one in self.versions(name) if one.stage == "champion"), None)

    def previous_champion(self, name: str) -> ModelVersion | None:
        """Return who was champion last before the one of now, None without."""
        lines, now = self._lines(), self.champion(name)
        for line in reversed(lines):
            was = line.kind == "stage" and line.stage == "champion" and line.name == name
            if was and (now is None or line.sha256 != now.sha256):
                return self._get(lines, f"{name}@{line.sha256}")
        return None

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return what was done with the versions of a name, one record a line, oldest first."""
        return [line._asdict() for line in self._lines() if line.name == name]

    def read(self, reference: str) -> ModelFile:
        """Return the file of a version, read once and held against its hash."""
        version = self.get(reference)
        folder = self._folder_of(version.name, version.sha256)
        file = read_model_file(folder / f"model.{version.manifest.kind}")
        if file.sha256 != version.sha256:
            raise ModelRefused(
                f"{version.name}@{version.sha256[:12]}",
                f"its file was changed: its hash is {file.sha256[:12]}… now.",
            )
        return ModelFile(file.name, kind_of(file.name, file.content), file.content)

    # --- the folder --------------------------------------------------------------------------

    def _folder_of(self, name: str, sha256: str) -> Path:
        return self.folder / name / sha256

    def _keep(self, file: ModelFile, manifest: Manifest) -> None:
        """Write both files into a folder of their own that appears whole."""
        place = self._folder_of(manifest.name, file.sha256)
        if place.exists():  # left by a process that died before its line was written
            return
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".part-") as scratch:
            part = Path(scratch) / "version"
            part.mkdir(mode=0o700)
            _write(part / f"model.{file.kind}", file.content)
            _write(part / MANIFEST, manifest.text().encode())
            part.rename(place)

    def _versions(self, lines: list[_Line], name: str | None) -> list[ModelVersion]:
        stages: dict[tuple[str, str], str] = {}
        for line in lines:
            stages[line.name, line.sha256] = line.stage
        return [
            ModelVersion(of, sha256, stage, self._manifest(lines, of, sha256))
            for (of, sha256), stage in stages.items()
            if name in (None, of)
        ]

    def _get(self, lines: list[_Line], reference: str) -> ModelVersion:
        name, _, digest = reference.partition("@")
        found = self._versions(lines, name)
        if not found:
            names = {line.name for line in lines}
            raise UsageError(f"{self.folder} has no model {name!r}.{did_you_mean(name, names)}")
        if not digest:
            champions = [one for one in found if one.stage == "champion"]
            return (champions or found)[-1]
        chosen = [one for one in found if one.sha256.startswith(digest)]
        if len(chosen) != 1:
            raise UsageError(
                f"{len(chosen)} versions of {name} begin with {digest!r}; there are"
                f" {', '.join(one.sha256[:12] for one in found)}."
            )
        return chosen[0]

    def _manifest(self, lines: list[_Line], name: str, sha256: str) -> Manifest:
        where = f"{name}/{sha256[:12]}…/{MANIFEST}"
        try:
            text = (self._folder_of(name, sha256) / MANIFEST).read_bytes()
        except OSError as error:
            raise ModelRefused(where, f"it cannot be read ({error.strerror}).") from error
        if _sha256(text) != _manifest_hash(lines, name, sha256):
            raise ModelRefused(where, "it was changed since the version was registered.")
        return manifest_of(text.decode(errors="replace"), where)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the journal's lock; it ends with the block or the process."""
        fd = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)

    def _lines(self) -> list[_Line]:
        """Return the journal's lines; a last one that was never finished is not one."""
        try:
            content = (self.folder / JOURNAL).read_bytes()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        lines, before = [], ""
        for number, text in enumerate(whole.splitlines(), start=1):
            try:
                told = json.loads(text)
                prev = told.pop("prev")
                line = _Line(**told)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ModelRefused(f"{JOURNAL}, line {number}", f"damaged ({error}).") from error
            if prev != before:
                raise ModelRefused(
                    f"{JOURNAL}, line {number}", "it does not follow the line before: one of them"
                    " was changed or taken away."
                )  # fmt: skip
            before = _sha256(text)
            lines.append(line)
        return lines


def _said_of(file: ModelFile, features: FeatureEngineer) -> dict[str, Any]:
    """Load a model in a process of its own and return what it says of itself."""
    try:
        child = ModelChild(file, features.names, LOAD_MEMORY_MB)
    except ModelFailed as failed:
        raise ModelRefused(file.name, f"{failed.why}.") from failed
    child.close()
    return child.said


def _manifest_hash(lines: list[_Line], name: str, sha256: str) -> str:
    return next(
        line.manifest_sha256
        for line in lines
        if line.kind == "register" and (line.name, line.sha256) == (name, sha256)
    )


def _append(fd: int, lines: list[_Line], line: _Line) -> None:
    """Add a line durably, over what a process left that died while writing."""
    content = os.pread(fd, os.fstat(fd).st_size, 0)
    end = content.rfind(b"\n") + 1
    last = content[:end].splitlines()[-1:] or [b""]
    prev = _sha256(last[0]) if last[0] else ""
    text = json.dumps({"prev": prev, **line._asdict()}, separators=(",", ":")) + "\n"
    os.ftruncate(fd, end)
    os.pwrite(fd, text.encode(), end)
    os.fsync(fd)
    lines.append(line)


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
