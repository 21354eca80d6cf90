"""Laws of the shadow's log over random runs: nothing is lost by chunks, restarts or torn ends."""

import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.ml.evaluation.scoring import score_log
from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.outcomes import Joined, joined
from mqd.ml.shadow.records import FILE, Matured, Prediction, read_records
from tests.unit.ml.shadow_lines import A, B, came, said, watched

FAR = watched("far", "c", horizon="f" * 12)
SPANS = {A.horizon: 1, FAR.horizon: 3}


@st.composite
def runs(draw):
    """Draw what is asked of a log: predictions bar by bar, outcomes when they are known, and
    restarts between."""
    asked = []
    for ts in range(1, draw(st.integers(2, 9))):
        for symbol in "ST":
            for model in (A, B, FAR):
                if draw(st.booleans()):
                    score = draw(st.sampled_from([0.0, 0.25, 0.75, 1.0, math.nan]))
                    source = draw(st.sampled_from(["model", "model", "rule"]))
                    asked.append(said(model, ts, score, symbol=symbol, source=source))
            for horizon, span in SPANS.items():
                ret = draw(st.sampled_from([-0.5, 0.25, 0.5]))
                asked.append(came(ts - span, ret, symbol=symbol, span=span, horizon=horizon))
        if draw(st.integers(0, 4)) == 0:
            asked.append("restart")
    return asked


def write(folder, asked):
    log = ShadowLog.open(folder)
    log.start((A, B, FAR), ())
    for one in asked:
        if one == "restart":
            log.close()
            log = ShadowLog.open(folder)
            log.start((A, B, FAR), ())
        elif isinstance(one, Matured):
            log.mature(one)
        else:
            log.predict(one, "5" * 64, np.array([0.5]))
    log.close()


def by_dictionary(folder):
    """Return each prediction with its outcome, joined one record at a time."""
    open_ones, found, horizon = {}, [], {one.sha256: one.horizon for one in (A, B, FAR)}
    for one in read_records(folder):
        if isinstance(one, Prediction):
            key = (one.symbol, one.ts_ns, horizon[one.model])
            open_ones.setdefault(key, []).append(one)
        elif isinstance(one, Matured):
            waiting = open_ones.pop((one.symbol, one.ts_ns, one.horizon))
            found += [(told, one.ret_frac) for told in waiting]
    found += [(told, math.nan) for left in open_ones.values() for told in left]
    return found


def as_rows(folder, size):
    rows = []
    for part in joined(folder, size):
        if isinstance(part, Joined):
            words = part.words.texts
            rows += [
                (words[model], words[symbol], ts, repr(score), repr(ret))
                for model, symbol, ts, score, ret in zip(
                    *(one.tolist() for one in (
                        part.model, part.symbol, part.ts_ns, part.score, part.ret_frac
                    )), strict=True,
                )
            ]  # fmt: skip
    return sorted(rows)


@settings(max_examples=40, deadline=None)
@given(asked=runs(), size=st.integers(1, 12))
def test_columns_join_what_a_dictionary_joins(asked, size):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, asked)
        expected = sorted(
            (one.model, one.symbol, one.ts_ns, repr(one.score), repr(ret))
            for one, ret in by_dictionary(folder)
        )
        assert as_rows(folder, size) == expected


@settings(max_examples=25, deadline=None)
@given(asked=runs())
def test_a_restart_changes_nothing_that_was_found(asked):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        write(one, asked)
        write(other, [each for each in asked if each != "restart"])
        assert as_rows(one, 50_000) == as_rows(other, 50_000)


@settings(max_examples=25, deadline=None)
@given(asked=runs(), cut=st.floats(0, 1))
def test_a_log_cut_anywhere_goes_on_to_the_same_end(asked, cut):
    """Cut at any byte behind the first start, opened again and asked all over, the log says the
    same."""
    asked = [one for one in asked if one != "restart"]
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as part:
        write(whole, asked)
        shutil.copytree(whole, part, dirs_exist_ok=True)
        told = (Path(whole) / FILE).read_bytes()
        first = told.index(b"\n") + 1
        (Path(part) / FILE).write_bytes(told[: first + int(cut * (len(told) - first))])
        write(part, asked)
        assert as_rows(part, 50_000) == as_rows(whole, 50_000)


@settings(max_examples=25, deadline=None)
@given(asked=runs())
def test_every_prediction_is_counted_once(asked):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, asked)
        said_by = [one.model for one in read_records(folder) if isinstance(one, Prediction)]
        for sha256, score in score_log(folder).items():
            told = score.metrics()
            parts = ("matured", "waiting", "without_score", "from_others")
            assert told["predictions"] == said_by.count(sha256) == sum(told[one] for one in parts)
            assert score.bin_n.sum() == told["matured"]
