"""From kept parts to the table and moments of a whole sweep, one column at a time."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.errors import SweepWriteFailed
from mqd.significance import sharpe_of
from mqd.sweeps.evaluate import BLOCKS, METRICS
from mqd.sweeps.parts import Layout, Part
from mqd.sweeps.store import Store

Floats = NDArray[np.float64]


def _parts(store: Store, layout: Layout, n: int, *, moments: bool) -> Iterator[Part]:
    """Yield the parts of all datasets, cut to the first ``n`` combinations of each."""
    for dataset in range(len(layout.symbols)):
        for part in store.parts(dataset, moments=moments):
            if part.first < n:
                yield part.head(n - part.first)


def table_of(store: Store, layout: Layout, parameters: tuple[str, ...], n: int) -> pd.DataFrame:
    """Return the table of the first ``n`` combinations of every dataset."""
    pieces: dict[str, list[Any]] = {}
    known: dict[str, tuple[str, ...]] = {}
    for part in _parts(store, layout, n, moments=False):
        n_units = max(len(layout.symbols[part.dataset]), 1)
        for name in parameters:
            pieces.setdefault(name, []).append(np.repeat(part.parameters[name], n_units))
        for name, (codes, names) in layout.labels(part.dataset, part.n).items():
            pieces.setdefault(name, []).append(codes)
            known[name] = names
        for name in METRICS:
            pieces.setdefault(name, []).append(part.outcome.columns[name])
        pieces.setdefault("failed", []).append(np.array(part.outcome.failed, dtype=object))
    columns: dict[str, Any] = {}
    for name in list(pieces):
        whole = np.concatenate(pieces.pop(name))
        kind = pd.CategoricalDtype(list(known[name])) if name in known else None
        columns[name] = whole if kind is None else pd.Categorical.from_codes(whole, dtype=kind)
    columns["failed"] = pd.array(columns["failed"], dtype="str")
    return pd.DataFrame(columns, copy=False)


def moments_of(store: Store, layout: Layout, n: int, bytes_max: int) -> Floats:
    """Return (rows, 16, 5), read-only; a memory-mapped temporary file beyond ``bytes_max``."""
    rows = n * sum(max(len(symbols), 1) for symbols in layout.symbols)
    shape = (rows, BLOCKS, 5)
    out = np.empty(shape) if rows * BLOCKS * 40 <= bytes_max else _mapped(shape)
    at = 0
    for part in _parts(store, layout, n, moments=True):
        found = part.outcome.moments
        out[at : at + len(found)] = found
        at += len(found)
    out.flags.writeable = False
    return out


def _mapped(shape: tuple[int, ...]) -> Floats:
    folder = Path(tempfile.mkdtemp(prefix="mqd-moments-"))
    try:
        out: Any = np.lib.format.open_memmap(folder / "moments.npy", "w+", np.float64, shape)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SweepWriteFailed(str(folder), 0, error) from error
    weakref.finalize(out, shutil.rmtree, folder, ignore_errors=True)
    return out  # type: ignore[no-any-return]


def sharpes_of(store: Store, layout: Layout, n: int) -> Floats:
    """Return the Sharpe ratio a period of every row; NaN where it has none."""
    found = [sharpe_of(part.outcome.moments) for part in _parts(store, layout, n, moments=True)]
    return np.concatenate(found)
