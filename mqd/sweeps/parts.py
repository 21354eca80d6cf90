"""Parts of a sweep and their form in parquet: parameters, metrics, ``failed`` and ``moments``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.sweeps.evaluate import BLOCKS, METRICS, Outcome

Array = NDArray[Any]
WIDTH: Final = BLOCKS * 5
META: Final = b"mqd.sweep"
RESERVED: Final = frozenset({*METRICS, "failed", "moments", "dataset", "symbol"})
_NAME = re.compile(r"part-(\d{4})-(\d{12})-(\d+)\.parquet$")


class Span(NamedTuple):
    """Combinations ``first ... first + n - 1`` of a dataset (its place)."""

    dataset: int
    first: int
    n: int

    @property
    def file_name(self) -> str:
        """The name of the part's file; names sort in order."""
        return f"part-{self.dataset:04d}-{self.first:012d}-{self.n}.parquet"

    @staticmethod
    def of_file(path: Path) -> Span | None:
        """Return the span that a file's name tells, None when it is no part."""
        found = _NAME.match(path.name)
        return Span(*map(int, found.groups())) if found else None


class Part(NamedTuple):
    """The rows of some combinations on one dataset.

    ``parameters``: one value a combination; ``outcome``: one row a combination and unit, where
    ``moments`` may have been left out: shape (0, 16, 5).
    """

    dataset: int
    first: int
    parameters: dict[str, Array]
    outcome: Outcome

    @property
    def n(self) -> int:
        """The number of combinations."""
        return len(next(iter(self.parameters.values())))

    @property
    def span(self) -> Span:
        """Which combinations these are."""
        return Span(self.dataset, self.first, self.n)

    def head(self, n: int) -> Part:
        """Return the part cut to its first ``n`` combinations."""
        return self if n >= self.n else self._cut(0, n)

    def tail(self, n: int) -> Part:
        """Return the part without its first ``n`` combinations."""
        return self._cut(n, self.n) if n else self

    def _cut(self, start: int, stop: int) -> Part:
        n_units = len(self.outcome.failed) // self.n
        rows = slice(start * n_units, stop * n_units)
        cut = Outcome(
            {name: values[rows] for name, values in self.outcome.columns.items()},
            self.outcome.moments[rows],
            self.outcome.failed[rows],
        )
        parameters = {name: values[start:stop] for name, values in self.parameters.items()}
        return Part(self.dataset, self.first + start, parameters, cut)

    @property
    def n_bytes(self) -> int:
        """What the part takes in memory, bytes."""
        arrays = [*self.parameters.values(), *self.outcome.columns.values(), self.outcome.moments]
        return sum(array.nbytes for array in arrays) + 8 * len(self.outcome.failed)


class Layout(NamedTuple):
    """What a row belongs to: names of the datasets (none when there is one), symbols of each
    dataset (none when pooled)."""

    datasets: tuple[str, ...]
    symbols: tuple[tuple[str, ...], ...]

    def labels(self, dataset: int, n: int) -> dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]:
        """Return, by column, codes and names of the rows of ``n`` combinations of a dataset."""
        out = {}
        symbols = self.symbols[dataset]
        if self.datasets:
            rows = n * max(len(symbols), 1)
            out["dataset"] = np.full(rows, dataset, dtype=np.int32), self.datasets
        if symbols:
            every = tuple(dict.fromkeys(name for names in self.symbols for name in names))
            codes = np.array([every.index(name) for name in symbols], dtype=np.int32)
            out["symbol"] = np.tile(codes, n), every
        return out


def _table(part: Part, layout: Layout) -> Any:
    import pyarrow as pa

    n_units = len(part.outcome.failed) // part.n
    flat = pa.array(np.ascontiguousarray(part.outcome.moments).reshape(-1))
    columns = {
        **{name: pa.array(np.repeat(v, n_units)) for name, v in part.parameters.items()},
        **{
            name: pa.array(np.array(known, dtype=object)[codes], pa.string())
            for name, (codes, known) in layout.labels(part.dataset, part.n).items()
        },
        **{name: pa.array(values) for name, values in part.outcome.columns.items()},
        "failed": pa.array(part.outcome.failed, pa.string()),
        "moments": pa.FixedSizeListArray.from_arrays(flat, WIDTH),
    }
    return pa.table(columns)


def encoded(part: Part, layout: Layout) -> Any:
    """Return a part as the bytes of a parquet file."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    table = _table(part, layout)
    with _writer(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _writer(where: Any, schema: Any) -> Any:
    import pyarrow.parquet as pq

    texts = [name for name in ("failed", "dataset", "symbol") if name in schema.names]
    ranged = [name for name in schema.names if name != "moments"]
    return pq.ParquetWriter(
        where, schema, compression="lz4", use_dictionary=texts, write_statistics=ranged
    )


def is_whole(path: Path) -> bool:
    """Return whether a part's file can be read to its end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path):
            return True
    except (pa.ArrowException, OSError):
        return False


def metadata(path: Path) -> dict[str, Any] | None:
    """Return what a merged file says of itself; None when it is no sweep's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = pq.read_schema(path).metadata or {}
        return dict(json.loads(meta[META]))
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None


def read(path: Path, span: Span, *, moments: bool) -> Part:
    """Return the part that a file holds."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return _part(file.read(columns=_wanted(file, moments)), span)


def read_group(path: Path, number: int, spans: Sequence[Span], *, moments: bool) -> Part:
    """Return the neighbouring parts of one row group of a merged file, as one."""
    import pyarrow.parquet as pq

    whole = Span(spans[0].dataset, spans[0].first, sum(span.n for span in spans))
    with pq.ParquetFile(path) as file:
        return _part(file.read_row_group(number, columns=_wanted(file, moments)), whole)


def _wanted(file: Any, moments: bool) -> list[str]:
    return [name for name in file.schema_arrow.names if moments or name != "moments"]


def _part(table: Any, span: Span) -> Part:
    n_units = table.num_rows // span.n
    names = [name for name in table.column_names if name not in RESERVED]
    parameters = {name: _column(table, name)[::n_units] for name in names}
    columns = {name: _column(table, name) for name in METRICS}
    moments = np.zeros((0, BLOCKS, 5))
    if "moments" in table.column_names:
        flat = table["moments"].combine_chunks().flatten().to_numpy()
        moments = flat.reshape(-1, BLOCKS, 5)
    failed = tuple(table["failed"].to_pylist())
    return Part(span.dataset, span.first, parameters, Outcome(columns, moments, failed))


def _column(table: Any, name: str) -> Array:
    import pyarrow as pa

    column = table[name].combine_chunks()
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist())
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


def merge(path: Path, groups: Sequence[Sequence[Path]], about: Mapping[str, Any]) -> None:
    """Write parts into one file, one row group for each group of files.

    ``about`` becomes the file's own account of itself, which ``metadata`` returns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = pq.read_schema(groups[0][0])
    schema = first.with_metadata({META: json.dumps(about).encode()})
    with _writer(path, schema) as writer:
        for files in groups:
            table = pa.concat_tables([pq.read_table(file) for file in files])
            writer.write_table(table.cast(schema), row_group_size=table.num_rows)
