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

from mqd.significance import sharpe_of
from mqd.sweeps.errors import SweepWriteFailed
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
    rows = _n_rows(layout, n)
    columns: dict[str, NDArray[Any]] = {}
    known: dict[str, tuple[str, ...]] = {}
    at = 0
    for part in _parts(store, layout, n, moments=False):
        pieces = _pieces(part, layout, parameters)
        for name, (values, names) in pieces.items():
            if name not in columns:
                texts = values.dtype.kind in "UO"
                columns[name] = np.empty(rows, object if texts else values.dtype)
            columns[name][at : at + len(values)] = values
            known[name] = names
        at += len(part.outcome.failed)
    frame: dict[str, Any] = dict(columns)
    for name, names in known.items():
        if names:
            kind = pd.CategoricalDtype(list(names))
            frame[name] = pd.Categorical.from_codes(columns[name], dtype=kind)
        elif columns[name].dtype == object:
            frame[name] = pd.array(columns[name], dtype="str")
    return pd.DataFrame(frame, copy=False)


def _n_rows(layout: Layout, n: int) -> int:
    return n * sum(max(len(symbols), 1) for symbols in layout.symbols)


def _pieces(
    part: Part, layout: Layout, parameters: tuple[str, ...]
) -> dict[str, tuple[NDArray[Any], tuple[str, ...]]]:
    """Return a part's columns in the table's order; codes with their names, others with none."""
    n_units = max(len(layout.symbols[part.dataset]), 1)
    return {
        **{name: (np.repeat(part.parameters[name], n_units), ()) for name in parameters},
        **layout.labels(part.dataset, part.n),
        **{name: (part.outcome.columns[name], ()) for name in METRICS},
        "failed": (np.array(part.outcome.failed, dtype=object), ()),
    }


def moments_of(store: Store, layout: Layout, n: int, bytes_max: int) -> Floats:
    """Return (rows, 16, 5), read-only; a memory-mapped temporary file beyond ``bytes_max``."""
    rows = _n_rows(layout, n)
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
