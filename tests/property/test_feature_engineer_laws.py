"""Online features have the bits of the offline ones: any start, any gaps, after any restart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.bar import BarRow
from mqd.ml.errors import BadFeature
from mqd.ml.features.batch import Batch
from mqd.ml.features.catalogue import KINDS
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.nodes import FIELDS, Field, Talib
from mqd.ml.features.online import Online

FEATURES = tuple(
    text
    for kind in KINDS.values()
    for text in {kind.name, f"{kind.name}(3)" if len(kind.parameters) == 1 else kind.name}
)


@st.composite
def histories(draw):
    """Columns of bars: uneven sessions, bars left out, prices that may stand still."""
    seed, n = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 160))
    flat = draw(st.booleans())
    dice = np.random.default_rng(seed)
    steps = dice.normal(0, 0.01, n) * (dice.random(n) < (0.3 if flat else 1.0))
    close = np.round(50 * np.exp(np.cumsum(steps)), 2)
    open_ = np.round(close * np.exp(dice.normal(0, 0.003, n)), 2)
    minute = np.cumsum(dice.integers(1, 4, n))
    session, at = minute // 40, minute % 40
    made = {
        "open": open_, "high": np.maximum(open_, close) + 0.01 * dice.integers(0, 3, n),
        "low": np.minimum(open_, close) - 0.01 * dice.integers(0, 3, n), "close": close,
        "volume": dice.integers(0 if draw(st.booleans()) else 1, 500, n).astype(float),
        "minutes_from_open": at + 1.0, "minutes_to_close": 39.0 - at,
        "session": session.astype(float) + 19000,
    }  # fmt: skip
    return {name: np.ascontiguousarray(made[name]) for name in FIELDS}


def row(columns, at):
    values = [float(columns[name][at]) for name in FIELDS[:5]]
    return BarRow(
        "A", at * 60, at * 60 + 60, *values, int(columns["session"][at]),
        float(columns["minutes_from_open"][at]), float(columns["minutes_to_close"][at]),
    )  # fmt: skip


@given(histories(), st.data())
def test_online_is_offline_to_the_bit_also_after_a_restart(columns, data):
    engineer, n = FeatureEngineer(FEATURES), len(columns["close"])
    offline = engineer.of_columns(columns)
    stop = data.draw(st.integers(0, n), label="restart after")
    first = engineer.online()
    online = [first.update(row(columns, at)) for at in range(stop)]
    again = engineer.online()  # a restart feeds the history anew
    for at in range(stop):
        again.update(row(columns, at))
    online += [again.update(row(columns, at)) for at in range(stop, n)]
    fed = np.array(online).reshape(n, len(engineer.names))
    for place, name in enumerate(engineer.names):
        both = np.isnan(fed[:, place]) & np.isnan(offline[:, place])
        same = fed[:, place].view(np.int64) == offline[:, place].view(np.int64)
        assert (both | same).all(), (name, int(np.argmin(both | same)))


HOLES = st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf]), max_size=12)


@given(HOLES, HOLES)
def test_inputs_with_holes_have_the_same_bits_or_are_refused_in_both_ways(first, second):
    """Before a row in which both are numbers a hole is none; behind it, it spoils."""
    n = min(len(first), len(second))
    columns = {name: np.ones(n) for name in FIELDS}
    columns |= {"open": np.array(first[:n]), "close": np.array(second[:n])}
    node = Talib("CORREL", (Field("open"), Field("close")), (3,))
    online = Online([node])

    def offline():
        return Batch(columns)(node)

    def fed():
        return np.array([online.update(row(columns, at))[0] for at in range(n)])

    found = []
    for way in (offline, fed):
        try:
            found.append(way().tobytes())
        except BadFeature:
            found.append("refused")
    assert found[0] == found[1]


@given(histories(), st.data())
def test_a_value_does_not_change_when_more_bars_come(columns, data):
    engineer, n = FeatureEngineer(FEATURES), len(columns["close"])
    cut = data.draw(st.integers(1, n), label="bars known")
    whole = engineer.of_columns(columns)[:cut]
    part = engineer.of_columns({name: values[:cut] for name, values in columns.items()})
    same = (whole.view(np.int64) == part.view(np.int64)) | (np.isnan(whole) & np.isnan(part))
    assert same.all(), engineer.names[int(np.argmin(same.all(axis=0)))]
