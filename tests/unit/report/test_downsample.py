"""Thinning keeps every bucket's extremes, the ends, and never makes a point up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.report.downsample import keep_extremes

values_with_gaps = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=300
)


@settings(deadline=None, max_examples=80)
@given(values_with_gaps, st.integers(4, 60))
def test_laws(values: list[float], points_max: int) -> None:
    series = np.array(values)
    rows = keep_extremes(series, points_max)
    assert len(rows) <= max(points_max, 0) or len(series) <= points_max
    assert (np.diff(rows) > 0).all()
    assert rows[0] == 0
    assert rows[-1] == len(series) - 1
    if not np.isnan(series).all():
        assert np.nanmax(series[rows]) == np.nanmax(series)
        assert np.nanmin(series[rows]) == np.nanmin(series)
    if len(series) <= points_max:
        assert len(rows) == len(series)


def test_every_local_spike_of_its_bucket_survives() -> None:
    series = np.zeros(10_000)
    spikes = np.arange(250, 10_000, 500)
    series[spikes] = np.where(np.arange(len(spikes)) % 2, 1.0, -1.0)
    assert set(spikes) <= set(keep_extremes(series, 1_000).tolist())
