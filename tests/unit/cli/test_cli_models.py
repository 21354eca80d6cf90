"""``mqd models``: the registry from a shell, and what it refuses."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mqd.cli.main import main
from mqd.ml import FeatureEngineer, FixedHorizon, ModelRegistry


@pytest.fixture
def registry(tmp_path):
    """A registry with two versions of "up"."""
    found = ModelRegistry(tmp_path / "models")
    X = np.random.default_rng(0).normal(size=(50, 2))
    for c, note in ((1.0, "first"), (0.1, "second")):
        found.save(
            LogisticRegression(C=c).fit(X, X[:, 0] > 0), name="up", note=note, author="ann",
            features=FeatureEngineer(("log_return(1)", "range_frac")), label=FixedHorizon(5),
            threshold=0.55, metrics={"brier": 0.25, "reference": {"columns": []}},
        )  # fmt: skip
    return found


def run(capsys, registry, *words):
    """Run a command on the registry; return its exit code, stdout and stderr."""
    code = main(["models", *words, "--models", str(registry.folder)])
    return code, *capsys.readouterr()


def test_versions_are_listed_with_stage_and_note(registry, capsys):
    code, out, _ = run(capsys, registry, "list")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["shadow", "shadow"]
    assert [line.split()[-1] for line in out.splitlines()] == ["first", "second"]
    code, out, _ = run(capsys, registry, "list", "--json")
    told = json.loads(out)["models"]
    assert [one["model"] for one in told] == [one.reference for one in registry.versions()]


def test_a_version_is_shown_with_its_facts_and_each_step(registry, capsys):
    first, _ = (one.reference for one in registry.versions())
    for stage, reason in (("candidate", "40 days beside the desk"), ("champion", "best of two")):
        code, out, _ = run(capsys, registry, "move", first, stage, "--reason", reason, "--by", "bo")
        assert (code, out.split()[-1]) == (0, f"{stage}.")
    code, out, _ = run(capsys, registry, "show", "up")
    assert code == 0
    assert out.startswith(f"{first} (champion)")
    assert "threshold    0.55" in out
    assert "log_return(1) range_frac" in out
    assert "metrics      brier 0.25" in out
    assert "candidate by bo: 40 days beside the desk" in out
    code, out, _ = run(capsys, registry, "show", first[:12], "--json")
    told = json.loads(out)
    assert told["manifest"]["feature_names"] == ["log_return_1", "range_frac"]
    assert [one["stage"] for one in told["history"]] == ["shadow", "candidate", "champion"]


def test_a_file_with_another_byte_is_not_shown(registry, capsys):
    version = registry.versions()[0]
    (file,) = (registry.folder / "up" / version.sha256).glob("model.*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)
    code, out, err = run(capsys, registry, "show", version.reference)
    assert (code, out) == (1, "")
    assert "it is not the file that was registered" in err


@pytest.mark.parametrize(("words", "code", "said"), [
    (["move", "up", "champion", "--reason", "x"], 1, "from there it goes to candidate or retired"),
    (["move", "up", "chapion", "--reason", "x"], 2, "Did you mean 'champion'?"),
    (["move", "up", "candidate", "--reason", " "], 2, "for a reason: say it"),
    (["move", "up", "candidate"], 2, "--reason"),
    (["show", "upp"], 2, "Did you mean 'up'?"),
    (["show", "up@1"], 2, "write eight digits or more"),
])  # fmt: skip
def test_what_is_wrong_is_a_sentence(registry, capsys, words, code, said):
    found, out, err = run(capsys, registry, *words)
    assert (found, out) == (code, "")
    assert said in err


def test_a_folder_that_is_no_registry_is_not_made(tmp_path, capsys):
    assert main(["models", "list", "--models", str(tmp_path / "nowhere")]) == 2
    assert "No model registry" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir(mode=0o700)
    assert main(["models", "list", "--models", str(tmp_path / "empty")]) == 0
    assert "no model yet" in capsys.readouterr().out
