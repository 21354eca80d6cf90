"""The registry of models: immutable versions by content, stages with reasons, one champion a name.

On disk, readable by the owner alone:

    FOLDER/registry.ndjson                        what happened (`mqd.ml.registry.log`)
    FOLDER/NAME/SHA256/model.skops|model.onnx     the file as it was given, mode 0400
    FOLDER/NAME/SHA256/manifest.json              its facts (`mqd.ml.registry.manifest`), mode 0400

Every reading checks the manifest against its record and the file against the manifest.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from mqd.core.clock import WallClock
from mqd.core.protocols import Clock
from mqd.errors import ModelRefused, UsageError, did_you_mean
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.registry.given import features_given, label_given, refuse_other_rows, training_given
from mqd.ml.registry.log import RegistryLog, sync_folder
from mqd.ml.registry.manifest import (
    SCHEMA,
    Manifest,
    Training,
    checked_threshold,
    code_sha256,
    versions_of,
)
from mqd.ml.registry.stages import (
    STAGES,
    Records,
    Standing,
    champion_of,
    check_move,
    former_champion,
    standings,
)
from mqd.ml.sandbox.child import MEMORY_MB, inspect_model
from mqd.ml.sandbox.model_file import ModelFile, model_file, read_once, sha256_of

NAME: Final = re.compile(r"(?!lock$)[a-z][a-z0-9_]{0,63}")
"""A model's name: one that a strategy can write, and that is not one of the registry's files."""
_MANIFEST_BYTES_MAX: Final = 4 << 20


class ModelVersion(NamedTuple):
    """A registered model: one file, for good. ``stage`` is that of the moment of asking."""

    name: str
    sha256: str
    stage: str
    manifest: Manifest

    @property
    def reference(self) -> str:
        """``NAME@SHA256``, as strategies and records name it."""
        return Standing(*self[:3]).reference

    @property
    def engineer(self) -> FeatureEngineer:
        """The features that it was trained on; raises ``ModelRefused`` when it names none."""
        if self.manifest.features is None:
            raise ModelRefused(self.short, "its manifest names no features of mqd")
        return FeatureEngineer.from_spec(self.manifest.features)

    @property
    def short(self) -> str:
        """``NAME@`` and twelve digits, for sentences."""
        return Standing(*self[:3]).short


class ModelRegistry:
    """Model versions in ``folder`` (created, mode 0700). One registry serves many processes.

    ``memory_mb`` is what the process that looks at a new file may use. Raises ``ModelRefused``
    when the folder belongs to, or can be written by, somebody else.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, clock: Clock | None = None,
        memory_mb: int = MEMORY_MB,
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        self._clock: Clock = clock or WallClock()
        self._memory_mb = memory_mb
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.folder.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise ModelRefused(
                str(self.folder),
                "others may write here: make it yours alone (chown, chmod 700), then look at what"
                " is in it",
            )
        self._log = RegistryLog(self.folder)

    def register(
        self, path: str | os.PathLike[str], *, name: str = "model", features: Any = None,
        label: Any = None, training: Training | Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None, threshold: float | None = None, note: str = "",
        author: str = "",
    ) -> ModelVersion:  # fmt: skip
        """Take a model file in, as a version in stage shadow, and return it.

        ``features``: the FeatureEngineer whose columns the model was trained on, or its spec.
        ``label``: a label or its spec. ``training``: ``Dataset.training``; its rows know which
        features and label they have, and others are refused.
        The file is parsed in a sandboxed process only. The same file with the same words again
        returns the version that is there. Raises ``ModelRefused`` for a pickle, a type that is
        not on the list, a damaged or oversized file, a link, and other features than the file's.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                "A model's name is a short lower-case word of letters, digits and _ (not 'lock'),"
                f" not {name!r}."
            )
        file = model_file(Path(path))
        facts = inspect_model(file.data, file.format, memory_mb=self._memory_mb)
        manifest = self._manifest(
            name, file, facts, features=features, label=label_given(label), training=training,
            metrics=metrics, threshold=threshold, note=note, author=author,
        )  # fmt: skip
        with self._log.locked():
            for one in standings(self._log.records(), name):
                if one.sha256 == file.sha256:
                    return self._again(manifest, one)
            data = manifest.to_bytes()
            self._put(manifest, file, data)
            self._log.append(
                {
                    "k": "register", "name": name, "sha256": file.sha256,
                    "manifest_sha256": sha256_of(data), "stage": "shadow",
                    "reason": "registered", "by": author, "ts": manifest.registered_ns,
                }
            )  # fmt: skip
        return ModelVersion(name, file.sha256, "shadow", Manifest.from_bytes(data))

    def save(self, estimator: Any, **words: Any) -> ModelVersion:
        """Write a fitted estimator as a skops file and `register` it with the same ``words``.

        Each call makes a version of its own: two files of one estimator differ in their bytes.
        """
        skops = import_module("skops.io")
        with tempfile.TemporaryDirectory(prefix="mqd-save-") as folder:
            path = Path(folder) / "model.skops"
            skops.dump(estimator, path)
            return self.register(path, **words)

    def get(self, reference: str) -> ModelVersion:
        """Return the version that ``reference`` means: ``name`` (its champion, else the newest that
        is not retired), or ``name@SHA256`` (eight digits or more).

        Raises ``UsageError`` for none, ``ModelRefused`` when its manifest was changed.
        """
        return self._version(self._find(reference, self._log.records()))

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Return the versions of ``name``, or of all names, in the order they were registered.

        Raises ``ModelRefused`` when a manifest was changed; ``standings`` reads none.
        """
        return [self._version(one) for one in self.standings(name)]

    def standings(self, name: str | None = None) -> list[Standing]:
        """Return names, hashes and stages of the same, from the record alone."""
        return standings(self._log.records(), name)

    def champion(self, name: str) -> ModelVersion | None:
        """Return the champion of ``name``, None when there is none."""
        found = champion_of(self._log.records(), name)
        return None if found is None else self._version(found)

    def previous_champion(self, name: str) -> ModelVersion | None:
        """Return the champion that a candidate replaced last and that nobody has moved since, None
        without one.

        One that was retired by hand is not it, nor one that was replaced by bringing back a former
        champion: somebody had a reason.
        """
        records = self._log.records()
        sha256 = former_champion(records, name)
        if sha256 is None:
            return None
        return self._version(next(o for o in standings(records, name) if o.sha256 == sha256))

    def move(self, reference: str, stage: str, reason: str, *, by: str = "") -> Standing:
        """Move a version to another stage and return where it stands; ``reason`` and ``by`` are
        kept for good.

        A new champion retires the one before it. Whoever is retired needs no readable manifest;
        who is crowned does. Raises ``ModelRefused`` for that and for a move that the table
        ``MOVES`` does not have, ``UsageError`` for no stage or no reason.
        """
        if stage not in STAGES:
            raise UsageError(f"No stage {stage!r}.{did_you_mean(stage, STAGES)}")
        if not reason.strip():
            raise UsageError("A version changes its stage for a reason: say it.")
        with self._log.locked():
            records = self._log.records()
            version = self._find(reference, records)
            check_move(records, version, stage)
            step = {
                "k": "stage", "name": version.name, "sha256": version.sha256,
                "from": version.stage, "stage": stage, "reason": reason, "by": by,
            }  # fmt: skip
            if stage == "champion":
                self._version(version)
                former = champion_of(records, version.name)
                step |= {} if former is None else {"retires": former.sha256}
            self._log.append(step | {"ts": self._clock.now_ns()})
        return version._replace(stage=stage)

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return what was done with the versions of a name, one record a line, oldest first."""
        return [dict(record) for record in self._log.records() if record["name"] == name]

    def read(self, reference: str) -> bytes:
        """Return the bytes of a version's file, checked against its manifest.

        Use these bytes and nothing else: what is on the disk may change. Raises ``ModelRefused``.
        """
        manifest = self.get(reference).manifest
        path = self._path(manifest.name, manifest.sha256) / f"model.{manifest.format}"
        data = read_once(path)
        if len(data) != manifest.size_bytes or sha256_of(data) != manifest.sha256:
            raise ModelRefused(
                str(path),
                "it is not the file that was registered: its sha256 differs. Put the original"
                " back, or register the new file as a version of its own",
            )
        return data

    def _find(self, reference: str, records: Records) -> Standing:
        """Return the version that ``reference`` means; raise ``UsageError`` for none."""
        name, _, prefix = reference.partition("@")
        mine = standings(records, name)
        if not mine:
            names = {one.name for one in standings(records)}
            raise UsageError(f"{self.folder} has no model {name!r}.{did_you_mean(name, names)}")
        known = ", ".join(one.sha256[:12] for one in mine)
        if prefix:
            fits = [one for one in mine if one.sha256.startswith(prefix)]
            if len(prefix) < 8 or len(fits) != 1:
                raise UsageError(
                    f"{len(fits)} versions fit {reference!r}: write eight digits or more of one of"
                    f" {known}."
                )
            return fits[0]
        standing = [one for one in mine if one.stage != "retired"]
        if not standing:
            raise UsageError(f"All versions of {name} are retired: name one by its hash, {known}.")
        return champion_of(records, name) or standing[-1]

    def _path(self, name: str, sha256: str) -> Path:
        return self.folder / name / sha256

    def _version(self, one: Standing) -> ModelVersion:
        registered = next(
            record for record in self._log.records()
            if (record["name"], record["sha256"]) == one[:2]
        )  # fmt: skip
        path = self._path(one.name, one.sha256) / "manifest.json"
        data = read_once(path, _MANIFEST_BYTES_MAX)
        if sha256_of(data) != registered["manifest_sha256"]:
            raise ModelRefused(str(path), "it was changed after the model was registered")
        return ModelVersion(*one, Manifest.from_bytes(data))

    def _again(self, manifest: Manifest, one: Standing) -> ModelVersion:
        """Return the version that is there, when the same is registered once more."""
        there, manifest = self._version(one), Manifest.from_bytes(manifest.to_bytes())
        told = ("features", "label", "threshold", "training", "metrics", "note", "author")
        changed = [
            word for word in told if getattr(there.manifest, word) != getattr(manifest, word)
        ]
        if changed:
            raise ModelRefused(
                there.short,
                f"this file is registered already, with other words ({', '.join(changed)});"
                " versions do not change. Train again, or use another name",
            )
        return there

    def _put(self, manifest: Manifest, file: ModelFile, data: bytes) -> None:
        """Write a version's folder whole, then give it its name."""
        target = self._path(manifest.name, manifest.sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if target.exists():  # it has no record: a start that ended before it, or a record lost
            target.rename(_free_name(target))
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        _write(folder / f"model.{file.format}", file.data)
        _write(folder / "manifest.json", data)
        sync_folder(folder)
        folder.rename(target)
        sync_folder(target.parent)

    def _manifest(
        self, name: str, file: ModelFile, facts: Mapping[str, Any], *, features: Any,
        label: dict[str, Any] | None, training: Training | Mapping[str, Any] | None,
        metrics: Mapping[str, Any] | None, threshold: float | None, note: str, author: str,
    ) -> Manifest:  # fmt: skip
        names, spec, schema_sha256 = features_given(features, facts)
        trained = training_given(training)
        refuse_other_rows(trained, schema_sha256, label)
        return Manifest(
            schema=SCHEMA, name=name, sha256=file.sha256, size_bytes=len(file.data),
            format=file.format, estimator=facts["estimator"], output=facts["output"],
            classes=tuple(facts["classes"]), n_features=facts["n_features"],
            feature_names=names, features=spec, schema_sha256=schema_sha256, label=label,
            threshold=checked_threshold(threshold, facts["output"]),
            training=trained, metrics=dict(metrics or {}), note=note, author=author,
            code_sha256=code_sha256(), versions=versions_of(file.format),
            trusted_types=tuple(facts["types"]), row_exact=facts["row_exact"],
            registered_ns=self._clock.now_ns(),
        )  # fmt: skip


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _free_name(path: Path) -> Path:
    """Return a name beside ``path`` that nothing has: what was there is kept."""
    number = 1
    while (found := path.with_name(f".orphan-{path.name[:12]}-{number}")).exists():
        number += 1
    return found
