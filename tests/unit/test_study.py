"""Studies: a folder that runs as it is made, results that are frozen, and the example."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mqd.cli.main import main
from mqd.errors import UsageError
from mqd.study import new_study, write_result

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "research/0001_sma_crossover_luck"


class Bars:
    sha256, symbols = "ab" * 32, ("IBM",)


WORDS = {
    "question": "q", "method": "m", "bars": Bars(), "parameters": {"n": 1}, "numbers": {"x": 1.5}
}  # fmt: skip


def run(folder):
    return subprocess.run(
        [sys.executable, "study.py"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_new_study_runs_as_it_is(tmp_path, capsys):
    assert main(["study", "new", "gap_reversal", "--folder", str(tmp_path)]) == 0
    assert "0001_gap_reversal" in capsys.readouterr().out
    place = tmp_path / "0001_gap_reversal"
    assert run(place).returncode == 0
    told = json.loads((place / "result.json").read_text())
    assert told["trials"] == told["numbers"]["combinations"] == 25
    assert told["verdict"] is None
    assert {"question", "method", "data", "code_sha256", "parameters_sha256"} <= set(told)


def test_numbers_go_on_and_a_slug_is_taken_once(tmp_path):
    new_study(tmp_path, "one")
    (tmp_path / "0007_seven").mkdir()
    assert new_study(tmp_path, "two").name == "0008_two"
    with pytest.raises(UsageError, match="0001_one exists"):
        new_study(tmp_path, "one")


@pytest.mark.parametrize("slug", ["", "Gap", "gap-reversal", "../gap", "gap__x", "7gap", "gap "])
def test_what_is_no_slug_is_refused(tmp_path, slug):
    assert main(["study", "new", slug, "--folder", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_result_with_a_verdict_is_frozen(tmp_path):
    (tmp_path / "study.py").write_text("")
    write_result(tmp_path, **WORDS, verdict=None)
    write_result(tmp_path, **WORDS | {"numbers": {"x": 2.5}}, verdict="No.")
    write_result(tmp_path, **WORDS | {"numbers": {"x": 2.5}}, verdict="No.")
    with pytest.raises(UsageError, match="frozen; this run differs in numbers"):
        write_result(tmp_path, **WORDS, verdict="No.")
    assert json.loads((tmp_path / "result.json").read_text())["numbers"] == {"x": 2.5}


def test_the_example_gives_its_result_again(tmp_path):
    copy = shutil.copytree(EXAMPLE, tmp_path / EXAMPLE.name)
    (copy / "trials.ndjson").unlink()
    done = run(copy)
    assert done.returncode == 0, done.stderr
    assert (copy / "result.json").read_text() == (EXAMPLE / "result.json").read_text()
    verdict = json.loads((EXAMPLE / "result.json").read_text())["verdict"]
    assert verdict.startswith("No.")
    assert "**Verdict.** No." in (EXAMPLE / "README.md").read_text()
