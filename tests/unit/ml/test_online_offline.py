"""Frames that should be equal to the bit: what differs is counted, sized and named."""

import math

import numpy as np
import pandas as pd
import pytest

from mqd.errors import UsageError
from mqd.ml.shadow.online_offline import compare_offline, ulp_between

INDEX = pd.MultiIndex.from_product([[1, 2, 3], ["A", "B"]], names=["ts_close", "symbol"])
FRAME = pd.DataFrame(
    {"rsi": [30.0, 40.0, math.nan, 60.0, 70.0, 80.0], "score": np.linspace(0, 1, 6)}, index=INDEX
)


def test_equal_frames_are_equal_in_any_order():
    found = compare_offline(FRAME, FRAME.sample(frac=1.0, random_state=1)[["score", "rsi"]])
    assert found.equal
    assert found.verdict == "6 rows of 2 columns are equal to the bit."
    assert found.first == ""


def test_one_bit_is_found_and_named():
    other = FRAME.copy()
    online = FRAME["score"].iloc[3]
    other.loc[(2, "B"), "score"] = offline = np.nextafter(online, 1.0)
    found = compare_offline(FRAME, other)
    assert not found.equal
    at = "1970-01-01T00:00:00.000000002Z B"
    assert found.first == f"score at {at}: online {float(online)}, offline {float(offline)}"
    told = found.frame.loc["score"]
    assert (told["n"], told["differ"], told["ulp"]) == (6, 1, 1)
    assert told["largest"] == offline - online
    assert found.frame.loc["rsi", "differ"] == 0
    assert found.verdict.startswith("Not equal: 1 of 2 columns differ in 6 rows. First: score at")


def test_a_number_that_is_missing_on_one_side_differs():
    other = FRAME.copy()
    other.loc[(1, "A"), "rsi"] = math.nan
    found = compare_offline(FRAME, other)
    assert found.frame.loc["rsi", "largest"] == math.inf
    assert found.first == "rsi at 1970-01-01T00:00:00.000000001Z A: online 30.0, offline nan"


def test_rows_of_one_side_are_counted():
    found = compare_offline(FRAME.iloc[1:], FRAME.iloc[:-2])
    assert (found.only_online, found.only_offline) == (2, 1)
    assert found.first == "the row 1970-01-01T00:00:00.000000003Z A is online only"
    assert "2 rows are online only, 1 rows are offline only" in found.verdict


TINY = 5e-324


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        (1.0, 1.0, 0),
        (1.0, np.nextafter(1.0, 2.0), 1),
        (-1.0, np.nextafter(-1.0, 0.0), 1),
        (0.0, TINY, 1),
        (0.0, -0.0, 1),
        (-TINY, TINY, 3),  # -tiny, -0, 0, tiny
        (1.0, 2.0, 2**52),
        (math.nan, math.nan, 0),
        (math.nan, 1.0, 2**63 - 1),
        (-1e308, 1e308, 2**63 - 1),
    ],
)
def test_floats_between_two_are_counted(a, b, steps):
    pair = np.array([a]), np.array([b])
    assert ulp_between(*pair)[0] == ulp_between(*reversed(pair))[0] == steps


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (FRAME.rename(columns={"rsi": "rsj"}), "Only one of the two frames has the column 'rs"),
        (pd.concat([FRAME, FRAME.iloc[:1]]), "offline frame has the row"),
        (FRAME.set_axis(FRAME.index.set_levels([7, 8, 9], level=0)), "no row in common"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(other, words):
    with pytest.raises(UsageError, match=words):
        compare_offline(FRAME, other)
