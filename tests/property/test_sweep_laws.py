"""A sweep that is stopped anywhere, any number of times, in any chunks, has one table."""

import tempfile
from pathlib import Path

import numpy as np
import pandas.testing as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mqd
from tests.unit.sweeps.sweep_support import Cross, chunked, less, marked, small_bars

GRID = {"fast": range(1, 13), "slow": range(1, 20), "short": [True, False]}


@pytest.fixture(scope="module")
def bars():
    """Two symbols of 60 days."""
    return small_bars()


SEARCHES = st.one_of(
    st.just({}),
    st.builds(lambda n, seed: {"search": "random", "n": n, "seed": seed},
              st.integers(1, 500), st.integers(0, 3)),
)  # fmt: skip
STOPS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 150)), max_size=4)


@settings(max_examples=12)
@given(SEARCHES, STOPS, st.integers(1, 400), st.booleans(), st.sampled_from(["apart", "pooled"]))
def test_stops_and_chunks_leave_no_trace(bars, search, stops, last_chunk, several, symbols):
    data = {"a": bars, "b": bars.select(["BBB"])} if several else bars
    words = {"where": less, "symbols": symbols, **search}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        marked(patch)
        expected = mqd.sweep(Cross, data, GRID, **words)
        path = Path(folder) / "x.parquet"
        for stop_at, chunk in stops:
            marked(patch, stop_at=stop_at)
            chunked(patch, chunk)
            try:
                part = mqd.sweep(Cross, data, GRID, resume=path, **words)
            except KeyboardInterrupt:
                continue
            one = expected.table
            if several:
                one = one[one["dataset"] == "a"]
            n = len(one) // expected.n_combinations * part.n_combinations
            columns = list(GRID)
            pt.assert_frame_equal(part.table[columns][:n], one[columns][:n])
        marked(patch)
        chunked(patch, last_chunk)
        found = mqd.sweep(Cross, data, GRID, resume=path, **words)
        pt.assert_frame_equal(found.table, expected.table)
        np.testing.assert_array_equal(found.moments, expected.moments)
        assert [file.name for file in Path(folder).iterdir()] == ["x.parquet"]
