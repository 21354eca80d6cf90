"""``mqd shadow``: what models said beside a desk, how good it was, and which of two is better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mqd.cli import output
from mqd.cli.models import MODELS, existing_registry
from mqd.cli.words import DataWords, bars_of
from mqd.errors import MqdError, UsageError

if TYPE_CHECKING:
    from mqd.ml.evaluation.scoring import ModelScore

SHOWN = (
    ("predictions", "predictions", "{:,.0f}"), ("matured", "matured", "{:,.0f}"),
    ("waiting", "waiting for their outcome", "{:,.0f}"),
    ("without_score", "without a score", "{:,.0f}"),
    ("on_training_rows", "on bars it was trained on", "{:,.0f}"),
    ("from_others", "answered by another", "{:,.0f}"), ("base_rate_frac", "base rate", "{:.1%}"),
    ("hit_rate_frac", "right", "{:.1%}"), ("recent_hit_rate_frac", "right, last 250", "{:.1%}"),
    ("brier", "Brier", "{:.4f}"), ("log_loss", "log loss", "{:.4f}"), ("auc", "AUC", "{:.3f}"),
    ("information_coefficient", "correlation with the return", "{:+.3f}"),
    ("signals", "at the threshold or above", "{:,.0f}"),
    ("precision_frac", "of these right", "{:.1%}"),
    ("signal_return_frac", "their mean return", "{:+.3%}"),
    ("mean_return_frac", "mean return of all", "{:+.3%}"),
    ("latency_ms_p50", "latency p50, ms", "{:.1f}"),
    ("latency_ms_p99", "latency p99, ms", "{:.1f}"),
)  # fmt: skip


def status(folder: Path, /, *, models: Path = MODELS, json: bool = False) -> int:
    """Show what the models of a shadow said, and how good it was.

    Nothing is changed; a shadow that runs may be looked at. Exit code 1 when a model is without
    answers for more than one prediction in a hundred, or says the same of every bar.

    Parameters
    ----------
    folder
        Folder of the shadow, or the run folder that holds it.
    models
        Folder of the model registry; drift is told of models whose manifest has a reference.
    json
        Print one JSON document to stdout.
    """
    from mqd.ml.evaluation.scoring import score_log
    from mqd.ml.shadow.asked import lost_bars

    place = shadow_folder(folder)
    n_lost = lost_bars(place)
    scores = list(score_log(place).values())
    moved = {one.model.sha256: _drift(place, models, one) for one in scores}
    if json:
        told = [_document(one) | {"drift": moved[one.model.sha256]} for one in scores]
        output.print_json({"lost_bars": n_lost, "models": told})
    else:
        if not scores:
            print(f"{place} holds no prediction yet.")
        if n_lost:
            print(f"! {n_lost:,} bars did not reach the shadow; it began anew behind them.")
        for one in scores:
            _print(one)
            _print_drift(moved[one.model.sha256])
    return int(any(_ails(one) for one in scores))


def compare(
    folder: Path, a: str, b: str, /, *, seed: int = 0, level: float = 0.95, json: bool = False
) -> int:
    """Compare two models on the bars that both have scored.

    Parameters
    ----------
    folder
        Folder of the shadow, or the run folder that holds it.
    a
        A model: NAME, NAME@SHA256 or the beginning of its hash.
    b
        The other one.
    seed
        Seed of the bootstrap.
    level
        Level of the intervals and of the evidence.
    json
        Print one JSON document to stdout.
    """
    from mqd.ml.evaluation.comparison import compare as judged

    if not 0.5 <= level < 1:
        raise UsageError(f"--level {level}: a level lies in [0.5, 1), such as 0.95.")
    found = judged(shadow_folder(folder), a, b, seed=seed, level=level)
    if json:
        output.print_json(found.summary())
        return 0
    print(found.verdict)
    if not found.enough:
        return 0
    print(f"Mean return over the label's span, b minus a: {_interval(found.pnl_frac, '{:+.4%}')}")
    print(f"Diebold-Mariano {found.dm.statistic:+.2f}, p = {found.dm.p:.3g}")
    alone = found.mcnemar
    print(f"McNemar, right alone b minus a: {alone.statistic:+.0f}, p = {alone.p:.3g}")
    told = found.evidence
    print(
        f"Valid at every look: p = {told.p_any:.3g}, difference in [{told.low:+.4f},"
        f" {told.high:+.4f}] ({told.n:,} steps that share no time)"
    )
    for one in (found.a, found.b):
        _print_calibration(one)
    return 0


def replay(
    folder: Path,
    /,
    *,
    data: DataWords,
    models: Path = MODELS,
    model: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    score_from: str | None = None,
    json: bool = False,
) -> int:
    """Run models over recorded bars, or hold a shadow's log against them.

    With --model a new shadow is made in FOLDER. Without, every prediction and every outcome of the
    log in FOLDER is computed anew, offline, from the bar on that the shadow heard first, and
    compared to the bit; exit code 1 when one differs.

    Parameters
    ----------
    folder
        Folder of the shadow.
    models
        Folder of the model registry.
    model
        A model to run, NAME or NAME@SHA256; may be repeated.
    score_from
        First session to predict, such as 2010-01-04; the bars before warm up.
    json
        Print one JSON document to stdout.
    """
    from mqd.ml.shadow.records import FILE

    bars = bars_of(data)
    if model:
        if (folder / FILE).exists():
            raise UsageError(
                f"{folder} holds the log of a shadow. Name a new folder; without --model its"
                " predictions are compared with the bars."
            )
        return _replayed(folder, bars, models, model, score_from, json=json)
    from mqd.ml.registry.registry import ModelRegistry
    from mqd.ml.shadow.replay import against

    found = against(shadow_folder(folder), ModelRegistry(existing_registry(models)), bars)
    if json:
        output.print_json({"compared": [one.summary() for one in found]})
    else:
        if not found:
            print(f"{folder} holds no prediction yet.")
        for one in found:
            print(f"{one.what}: {one.n:,}, {one.verdict}")
    return int(not all(one.equal for one in found))


def _replayed(
    folder: Path,
    bars: Any,
    models: Path,
    references: tuple[str, ...],
    score_from: str | None,
    *,
    json: bool,
) -> int:
    from mqd.ml.registry.registry import ModelRegistry
    from mqd.ml.shadow.replay import replay as run
    from mqd.ml.shadow.tracker import ShadowModeTracker

    registry = ModelRegistry(existing_registry(models))
    with ShadowModeTracker(folder, registry, references) as tracker:
        run(tracker, bars, from_ns=None if score_from is None else _instant(score_from))
        told = tracker.stats()
    if json:
        output.print_json({"folder": folder, **told})
    else:
        print(f"{told['bars']:,} bars heard, {told['warming']:,} while warming up: {folder}")
    return 0


def _instant(day: str) -> int:
    """Return the first instant of a day, ns UTC."""
    from datetime import UTC, date, datetime, time

    try:
        start = datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError as error:
        raise UsageError(f"--score-from {day!r} is no day such as 2010-01-04.") from error
    return int(start.timestamp()) * 1_000_000_000


def shadow_folder(folder: Path) -> Path:
    """Return the folder of a shadow: this one, ``shadow`` in it, or the one beside a run."""
    from mqd.ml.shadow.records import FILE

    folder = folder.resolve() if folder.name == "" else folder
    for place in (folder, folder / "shadow", folder.with_name(f"{folder.name}-shadow")):
        if (place / FILE).is_file():
            return place
    raise UsageError(f"{folder} holds no shadow: no {FILE} in it, nor in a shadow beside it.")


def _ails(one: ModelScore) -> bool:
    """Whether a model does not answer, or answers everything alike."""
    return one.n_none > 0.01 * one.n_said or one.constant is not None


def _document(one: ModelScore) -> dict[str, Any]:
    return {
        "model": one.model.reference, "stage": one.model.stage, "threshold": one.threshold,
        "label": one.model.label, "constant": one.constant, "metrics": one.metrics(),
        "sources": dict(one.sources), "errors": dict(one.errors),
        "calibration": one.calibration(),
    }  # fmt: skip


def _print(one: ModelScore) -> None:
    from mqd.ml.features.labels import label_text

    metrics = one.metrics()
    model = one.model
    print(f"{model.name}@{model.sha256[:12]} ({model.stage}), {label_text(model.label)}")
    for name, words, form in SHOWN:
        value = metrics[name]
        print(f"  {words:<30}{form.format(value) if math.isfinite(value) else '-':>12}")
    answered = ", ".join(f"{source} {n:,}" for source, n in one.sources.most_common())
    print(f"  answered by: {answered or 'nobody'}")
    for cause, n in one.errors.most_common():
        print(f"  ! {cause}: {n:,}")
    if one.constant is not None:
        print(f"  ! constant: its last {len(one.recent)} matured scores are all {one.constant:g}")
    _print_calibration(one)


def _drift(place: Path, models: Path, one: ModelScore) -> list[dict[str, Any]]:
    """Return the drift of a model's features and score by column, nothing where none is known."""
    if not models.is_dir() or not one.n_said:
        return []
    from mqd.ml.evaluation.log_drift import shadow_drift
    from mqd.ml.registry.registry import ModelRegistry

    try:
        version = ModelRegistry(models).get(one.model.reference)
        found = shadow_drift(place, version.sha256, version.manifest)
    except MqdError as error:
        output.say(f"No drift is told of {one.model.name}: {error}")
        return []
    rows = [] if found is None else found.reset_index().to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _print_drift(columns: list[dict[str, Any]]) -> None:
    worst = sorted(columns, key=lambda one: math.isnan(one["psi"]) or -float(one["psi"]))[:5]
    if worst:
        print("  drift of the last predictions, the five largest: PSI (0.1 stable), KS distance")
    for one in worst:
        print(f"    {one['column']:<24}{one['psi']:>8.3f}{one['ks']:>8.3f}  {one['state']}")


def _print_calibration(one: ModelScore) -> None:
    print(f"  {one.model.name}: score → how often it was up")
    for row in one.calibration():
        if row["n"]:
            filled = "█" * round(20 * row["up_frac"])
            print(
                f"    {row['from']:.1f}–{row['to']:.1f} {row['mean_score']:>7.3f}"
                f" {row['up_frac']:>7.1%} {filled:<20} {row['n']:>9,.0f}"
            )


def _interval(found: Any, form: str) -> str:
    mean, low, high = (form.format(one) for one in found)
    return f"{mean} [{low}, {high}]"
