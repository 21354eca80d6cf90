"""The promotion record: what was promoted, on which evidence, and whether it is still that."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mqd.errors import UsageError
from mqd.live.config import LiveConfig
from mqd.live.folder import sync_folder
from mqd.promotion.code_version import code_version
from mqd.promotion.errors import BadRecord, NotPromoted
from mqd.promotion.gates import BOUNDS, MANDATORY, MODEL, Gate
from mqd.risk.limits import Limits
from mqd.strategy.compiled import fingerprint
from mqd.strategy.predictors import handed_in, models_of
from mqd.strategy.strategy import Strategy

SCHEMA: Final = "1"
RECORD_BYTES_MAX: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A passed promotion. ``sha256`` is the hash of all the rest, so that a change is noticed.

    ``strategy``: name, class, code (fingerprint), parameters, and the models that it can ask.
    ``data``: hash, symbols, rows, span. ``settings``: cash, sizer, costs, fills, multiplier, band.
    ``limits`` and ``config``: hashes. ``metrics``: of backtest and walk-forward. ``trials``
    counted. ``made_ns``: wall clock.
    """

    version: str
    made_ns: int
    strategy: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    limits: str
    config: str
    metrics: dict[str, Any]
    trials: int
    check: list[str]
    rehearsal: dict[str, Any]
    gates: tuple[Gate, ...]

    def document(self) -> dict[str, Any]:
        """Return the record as JSON holds it, ``schema`` first and ``sha256`` last."""
        fields = asdict(self) | {"gates": [gate._asdict() for gate in self.gates]}
        told = {"schema": SCHEMA, **fields}
        return told | {"sha256": _hash(told)}

    @property
    def sha256(self) -> str:
        """The hash of the record."""
        return str(self.document()["sha256"])


def write_record(record: Record, path: str | Path) -> Path:
    """Write a record durably; raise ``UsageError`` when the file exists: evidence stays."""
    file = Path(path)
    refuse_existing(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record.document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    part = file.with_name(f".{file.name}.part")
    with part.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(part, file)
    except FileExistsError:
        refuse_existing(file)
    finally:
        part.unlink()
    sync_folder(file.parent)
    return file


def refuse_existing(file: Path) -> None:
    """Raise ``UsageError`` when there is a file already."""
    if file.exists():
        raise UsageError(f"{file} exists. A record is never overwritten: move it away, or --out.")


def read_record(path: str | Path) -> Record:
    """Return a record that is whole and unchanged; raise ``BadRecord`` with what is wrong."""
    file = Path(path)
    try:
        if file.stat().st_size > RECORD_BYTES_MAX:
            raise BadRecord(str(file), "it is too large for a promotion record")
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecord(str(file), f"it cannot be read as a promotion record ({error})") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise BadRecord(str(file), f"it is no promotion record of schema {SCHEMA}")
    said = told.pop("sha256", None)
    if said != _hash(told):
        raise BadRecord(str(file), "its hash does not match its text: it was changed by hand")
    told.pop("schema")
    try:
        gates = tuple(Gate(**gate) for gate in told.pop("gates"))
        return Record(**told, gates=gates)
    except (KeyError, TypeError) as error:
        raise BadRecord(str(file), f"its fields are not those of a record ({error})") from error


def verify_record(
    record: Record,
    strategy: Strategy,
    limits: Limits,
    *,
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Raise ``NotPromoted`` unless code, parameters and limits are those that were promoted.

    ``settings`` (sizer, multiplier, rebalance_band_frac) and ``data`` (symbols, timeframe, ...)
    are compared where they are given, key by key. A record of another version of mqd, or one in
    which a gate of today is missing or failed, does not pass.
    """
    found = list(_differences(record, strategy, limits))
    for part, told, now in (
        ("settings", record.settings, settings), ("data", record.data, data),
    ):  # fmt: skip
        for key, value in (now or {}).items():
            if told.get(key) != value:
                found.append(f"{part}: {key} is {value!r}, promoted was {told.get(key)!r}.")
    if found:
        raise NotPromoted(found)


def admit(config: LiveConfig) -> Record:
    """Return the promotion record of a configuration, after it was compared with it.

    Raises ``BadRecord``, also when none is named, and ``NotPromoted``.
    """
    if config.promotion is None:
        raise BadRecord(str(config.file), "it names no promotion record")
    record = read_record(config.promotion)
    verify_record(
        record, config.make_strategy(), config.limits,
        settings={
            "sizer": repr(config.make_sizer()), "multiplier": config.multiplier,
            "rebalance_band_frac": config.rebalance_band_frac,
        },
        data={
            "symbols": sorted(config.symbols), "timeframe": config.timeframe,
            "calendar": config.calendar,
        },
    )  # fmt: skip
    return record


def _differences(record: Record, strategy: Strategy, limits: Limits) -> Iterator[str]:

    told = record.strategy
    if record.version != code_version():
        yield f"mqd: this is version {code_version()}, promoted was with {record.version}."
    if told.get("class") != type(strategy).__name__:
        yield f"strategy: this is {type(strategy).__name__}, promoted was {told.get('class')}."
    elif told.get("code") != fingerprint(strategy):
        yield f"code: {type(strategy).__name__} was changed since."
    now = json.loads(json.dumps(dict(strategy.parameters)))
    if told.get("parameters") != now:
        yield f"parameters: {now}, promoted were {told.get('parameters')}."
    for model in {*handed_in()} - {*told.get("models", ())}:
        yield f"model: {model} was handed in, and the record does not name it."
    if record.limits != limits.sha256:
        yield f"limits: their hash is {limits.sha256[:16]}…, promoted was {record.limits[:16]}…."
    gates = {gate.name: gate for gate in record.gates}
    for name in BOUNDS:
        if name in gates and not (gates[name].passed and _holds(gates[name])):
            yield f"gate {name}: it is not passed ({gates[name].sentence})"
        elif name not in gates and _needs(record, name):
            yield f"gate {name}: the record does not have it."


def _needs(record: Record, name: str) -> bool:
    """Return whether a record has to hold a gate."""
    if name in MODEL:
        told = record.strategy
        return bool(told.get("models") or models_of(told.get("parameters", {})))
    return name in MANDATORY or record.trials > 1


def _holds(gate: Gate) -> bool:
    """Judge the recorded value by the bound of today."""
    return gate.value is not None and BOUNDS[gate.name].holds(gate.value)


def _hash(told: Mapping[str, Any]) -> str:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
