"""``mqd models``: which models there are, what is known of each, and where it stands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mqd.cli import output
from mqd.cli.models import MODELS, existing_registry
from mqd.core.clock import iso
from mqd.errors import ModelRefused

if TYPE_CHECKING:
    from mqd.ml.registry.registry import ModelRegistry, ModelVersion
    from mqd.ml.registry.stages import Standing

SHOWN = (
    "estimator", "output", "threshold", "label", "features", "training", "code_sha256", "versions",
    "author", "note",
)  # fmt: skip


def list_versions(*, models: Path = MODELS, json: bool = False) -> int:
    """List the versions of a model registry, oldest first.

    Parameters
    ----------
    models
        Folder of the model registry.
    json
        Print one JSON document to stdout.
    """
    registry = _registry(models)
    rows = [_row(registry, one) for one in registry.standings()]
    if json:
        output.print_json({"models": rows})
        return 0
    if not rows:
        print(f"{models} holds no model yet.")
        return 0
    width = max(len(row["short"]) for row in rows)
    for row in rows:
        print(f"{row['short']:<{width}}  {row['stage']:<9}  {row['registered']}  {row['note']}")
    return 0


def show(reference: str, /, *, models: Path = MODELS, json: bool = False) -> int:
    """Show a model's manifest and each change of its stage; its file is read and checked.

    Exit code 1 when the file or its manifest is not what was registered.

    Parameters
    ----------
    reference
        NAME or NAME@SHA256, eight digits or more.
    models
        Folder of the model registry.
    json
        Print one JSON document to stdout.
    """
    from mqd.ml.features.labels import label_text

    registry = _registry(models)
    version = registry.get(reference)
    registry.read(version.reference)
    steps = [
        one for one in registry.history(version.name)
        if version.sha256 in {one["sha256"], one.get("retires")}
    ]  # fmt: skip
    facts = asdict(version.manifest)
    if json:
        output.print_json(_row(registry, version) | {"manifest": facts, "history": steps})
        return 0
    print(f"{version.reference} ({version.stage}), {facts['size_bytes']:,} bytes, as registered")
    if facts["label"]:
        facts["label"] = label_text(facts["label"])
    for name in SHOWN:
        print(f"  {name:<12} {_told(facts[name])}")
    figures = {name: one for name, one in facts["metrics"].items() if isinstance(one, (int, float))}
    print(f"  {'metrics':<12} {_told({name: f'{one:.4g}' for name, one in figures.items()})}")
    for step in steps:
        by = f" by {step['by']}" if step["by"] else ""
        print(f"  {_when(step['ts'])}  {_became(step, version)}{by}: {step['reason']}")
    return 0


def move(
    reference: str, stage: str, /, *, reason: str, by: str = "", models: Path = MODELS,
    json: bool = False,
) -> int:  # fmt: skip
    """Move a model to another stage; the reason is kept for good.

    From shadow to candidate to champion; a new champion retires the one before it. Only a
    champion's scores can be traded, and only with a promotion record that names its hash.

    Parameters
    ----------
    reference
        NAME or NAME@SHA256, eight digits or more.
    stage
        shadow, candidate, champion or retired.
    reason
        Why.
    by
        Who decides it.
    models
        Folder of the model registry.
    json
        Print one JSON document to stdout.
    """
    moved = _registry(models).move(reference, stage, reason, by=by)
    if json:
        output.print_json({"model": moved.reference, "stage": moved.stage})
    else:
        print(f"{moved.short} is {moved.stage}.")
    return 0


def _registry(folder: Path) -> ModelRegistry:
    from mqd.ml.registry.registry import ModelRegistry

    return ModelRegistry(existing_registry(folder))


def _row(registry: ModelRegistry, one: Standing | ModelVersion) -> dict[str, Any]:
    """Return a version's line; one whose manifest cannot be read says so in place of its note."""
    try:
        manifest = registry.get(one.reference).manifest
        registered, note = _when(manifest.registered_ns), manifest.note
    except ModelRefused as error:
        registered, note = "", f"! {error}"
    return {
        "model": one.reference, "short": one.short, "stage": one.stage, "registered": registered,
        "note": note,
    }  # fmt: skip


def _became(step: dict[str, Any], version: ModelVersion) -> str:
    """Return the stage that a line of the record gave to a version."""
    if step["sha256"] == version.sha256:
        return str(step["stage"])
    return f"retired, replaced by {step['name']}@{step['sha256'][:12]}"


def _when(ns: int) -> str:
    """Return an instant to the second."""
    return f"{iso(ns)[:19]}Z"


def _told(value: Any) -> str:
    """Return a fact in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(one)}" for name, one in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
