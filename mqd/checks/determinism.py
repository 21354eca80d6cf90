"""Determinism: the same strategy over the same bars gives the same bits, in any process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mqd.checks.bars_file import write_bars
from mqd.checks.lookahead import differences
from mqd.checks.report import Finding
from mqd.core.clock import iso
from mqd.market_data.bars import Bars
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

HASH_SEEDS: Final = ("1", "2")
TIMEOUT_S: Final = 120


def feature_determinism(
    strategy: Strategy, bars: Bars, features: Mapping[str, Features]
) -> Iterator[Finding]:
    """Yield the first feature that a fresh instance computes otherwise on the same bars.

    Call it after the features were computed on other bars: what was kept from those shows.
    """
    for symbol in bars.symbols:
        again = compute_features(strategy.fresh(), bars[symbol])
        if again.names != features[symbol].names:
            sentence = (
                f"features of {symbol} are first {features[symbol].names}, then {again.names}."
            )
            yield Finding("non-determinism", sentence, symbol)
            return
        for apart in differences(features[symbol], again, len(bars[symbol])):
            when = iso(int(bars[symbol].ts_close[apart.row]))
            yield Finding(
                "non-determinism",
                f"feature {apart.feature!r} of {symbol} at the bar closing {when} is"
                f" {apart.full!r} at first and {apart.other!r} when computed again from the same"
                " bars. Look for chance, a clock, or something kept between calls.",
                symbol, when, apart.frac,
            )  # fmt: skip
            return


def hash_determinism(strategy: Strategy, bars: Bars) -> Iterator[Finding]:
    """Yield a difference between processes whose hashes differ (PYTHONHASHSEED).

    For a strategy whose code makes sets or asks for hashes; it must be importable by name.
    """
    name = importable(strategy)
    if not name:
        yield Finding(
            "not checked",
            f"{type(strategy).__name__} makes sets or asks for hashes, but another process cannot"
            " import it: whether its order of hashes matters was not looked for. Put it in a file.",
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        words = {"strategy": name, "parameters": dict(strategy.parameters)}
        Path(folder, "task.json").write_text(json.dumps(words), encoding="utf-8")
        write_bars(bars, Path(folder))
        told = [_in_process(folder, seed) for seed in HASH_SEEDS]
    failed = next((text for text in told if text.startswith("mqd")), "")
    if failed:
        yield Finding("not checked", f"A process of its own could not run the strategy: {failed}")
    elif len(set(told)) > 1:
        yield Finding(
            "non-determinism",
            "Its features differ between two processes whose hashes differ (PYTHONHASHSEED 1 and"
            " 2). Iterate over sorted(...) instead of a set, and use no hash().",
        )


def importable(strategy: Strategy) -> str:
    """Return the name by which another process finds the class, "" when it cannot."""
    cls = type(strategy)
    reference = getattr(cls, "__mqd_reference__", "")
    if reference:
        return str(reference)
    hidden = cls.__module__ == "__main__" or "<locals>" in cls.__qualname__
    return "" if hidden else f"{cls.__module__}:{cls.__qualname__}"


def _in_process(folder: str, hash_seed: str) -> str:
    """Return the digest that another process prints, or a line that begins with ``mqd``."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    command = [sys.executable, "-m", "mqd.checks.child", folder]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"mqd: {error}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else f"mqd: {lines[-1] if lines else '?'}"


def digest(strategy: Strategy, bars: Bars) -> str:
    """Return a sha256 of all features of all symbols, names and bits."""
    sha = hashlib.sha256()
    for symbol in bars.symbols:
        features = compute_features(strategy, bars[symbol])
        for name, column in zip(features.names, features.columns, strict=True):
            sha.update(f"\n{symbol}|{name}\n".encode())
            sha.update(column.tobytes())
    return sha.hexdigest()
