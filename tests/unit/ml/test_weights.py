"""Weights by hand: three labels over six bars, and the decay of their age."""

import numpy as np
import pytest

from mqd.errors import UsageError
from mqd.ml.features.labels import LabelTable
from mqd.ml.features.weights import (
    concurrency,
    embargo_ns,
    return_attribution,
    time_decay,
    uniqueness,
)


def table(*spans):
    rows, touch = (np.array(column, dtype=np.int64) for column in zip(*spans, strict=True))
    zeros = np.zeros(len(rows), dtype=np.int64)
    return LabelTable(rows, rows * 60, touch * 60, zeros * 0.0, zeros, touch)


THREE = table((0, 2), (1, 4), (4, 5))


def test_concurrency_and_average_uniqueness():
    # the returns of bars 1..5 are held by: 1, 1+2, 2, 2, 3
    assert concurrency(THREE, 6).tolist() == [0, 1, 2, 1, 1, 1]
    assert uniqueness(THREE, 6).tolist() == pytest.approx([(1 + 1 / 2) / 2, (1 / 2 + 1 + 1) / 3, 1])


def test_labels_apart_are_unique_and_equal_ones_share():
    assert uniqueness(table((0, 1), (1, 2), (2, 3)), 4).tolist() == [1, 1, 1]
    assert uniqueness(table((0, 2), (0, 2)), 3).tolist() == [0.5, 0.5]


def test_return_attribution_gives_each_its_own_part():
    close = np.exp(np.array([0.0, 0.1, 0.3, 0.3, 0.4, 0.2]))
    own = np.array([0.1 + 0.2 / 2, 0.2 / 2 + 0.0 + 0.1, 0.2])
    assert return_attribution(THREE, close).tolist() == pytest.approx(
        (own * 3 / own.sum()).tolist()
    )
    assert return_attribution(THREE, np.ones(6)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("oldest", "wanted"), [
    (1.0, [1, 1, 1, 1]), (0.0, [0.25, 0.5, 0.75, 1]), (0.5, [0.625, 0.75, 0.875, 1]),
    (-0.5, [0, 0, 0.5, 1]),
])  # fmt: skip
def test_time_decay(oldest, wanted):
    assert time_decay(np.ones(4), oldest).tolist() == pytest.approx(wanted)


def test_the_embargo_is_the_longest_span():
    assert embargo_ns(THREE) == 180


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UsageError, match="oldest"):
        time_decay(np.ones(2), -1.0)
    with pytest.raises(UsageError, match="ends at row 5 of 4"):
        concurrency(THREE, 4)
