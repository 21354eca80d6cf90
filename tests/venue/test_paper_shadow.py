"""``mqd paper --shadow``: a model beside a paper desk, over a restart, held against the bars."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

import mqd
from mqd.ml import FeatureEngineer, FixedHorizon, ModelRegistry
from mqd.ml.evaluation.dataset import make_dataset
from mqd.ml.shadow.records import Matured, Prediction, read_records
from mqd.ml.shadow.replay import against
from tests.venue.paper_world import (
    MINUTES,
    kinds,
    said,
    start_venue,
    wait_for,
    write_config,
)
from tests.venue.paper_world import mqd as run_mqd

pytestmark = pytest.mark.slow
PACE = 600


@pytest.fixture(scope="module")
def bars():
    return mqd.load_bars(MINUTES, symbols=["MSFT"], start="2022-05-19", end="2022-05-20")


@pytest.fixture(scope="module")
def registry(bars, tmp_path_factory):
    """A registry with one model of the minutes of another session.

    Its features read one bar alone: at this pace a desk may begin behind a bar that it misses.
    """
    found = ModelRegistry(tmp_path_factory.mktemp("models") / "registry")
    engineer, label = FeatureEngineer(("body_frac", "range_frac")), FixedHorizon(5)
    data = make_dataset(bars.between("2022-05-20", None), engineer, label)
    model = LogisticRegression().fit(data.X, data.y)
    found.save(
        model, name="minutes", features=engineer, label=label, training=data.training, threshold=0.5
    )
    return found


def predictions(folder):
    return [one for one in read_records(folder) if isinstance(one, Prediction)]


def test_a_shadow_of_a_paper_desk_goes_on_after_a_restart_and_agrees_with_the_bars(
    bars, registry, tmp_path
):
    state, shadow = tmp_path / "state", tmp_path / "state-shadow"
    day = bars.between("2022-05-19", "2022-05-19")
    with start_venue(tmp_path, PACE) as venue:
        words = [write_config(tmp_path, venue), "--rehearsal", f"{PACE}x", "--json",
                 "--models", registry.folder, "--shadow", "minutes"]  # fmt: skip
        first = run_mqd("paper", *words)
        wait_for(lambda: "fill" in kinds(state) and (shadow / "predictions.ndjson").exists())
        wait_for(lambda: len(predictions(shadow)) >= 5)
        first.terminate()
        code, told, why = said(first)
        assert (code, told["stopped"]) == (0, "SIGTERM"), why
        n_before = len(predictions(shadow))
        code, told, why = said(run_mqd("paper", *words, "--until-close"))
        assert (code, told["breaks"]) == (0, []), why
        assert "0 lost" in why
    made = predictions(shadow)
    assert len(made) > n_before >= 5
    assert Counter((one.ts_ns, one.symbol) for one in made).most_common(1)[0][1] == 1
    assert {one.source for one in made} == {"model"}
    matured = Counter(one.ts_ns for one in read_records(shadow) if isinstance(one, Matured))
    assert matured.most_common(1)[0][1] == 1
    before_close = {one.ts_ns for one in made if one.ts_ns <= int(day["MSFT"].ts_close[-20])}
    assert before_close <= set(matured)
    skew, came = against(shadow, registry, day)
    assert skew.equal, skew.verdict
    assert skew.n == len(made)
    assert came.equal, came.verdict


def test_a_shadow_that_dies_leaves_the_paper_desk_alone(registry, tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        desk = run_mqd(
            "paper", config, "--rehearsal", f"{PACE}x", "--json",
            "--models", registry.folder, "--shadow", "minutes",
        )  # fmt: skip
        wait_for(lambda: "fill" in kinds(state))
        n_fills = kinds(state).count("fill")
        for pid in _children(desk.pid):
            if b"mqd.ml.shadow.tap" in _argv(pid):
                os.kill(pid, 9)
                break
        else:
            raise AssertionError("the desk has no shadow")
        wait_for(lambda: kinds(state).count("fill") > n_fills + 2)
        desk.terminate()
        code, told, why = said(desk)
    assert (code, told["breaks"]) == (0, []), why
    assert "The shadow failed" in why
    assert json.loads((state / "heartbeat.json").read_text())["state"] == "stopped"


def _children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _argv(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()
