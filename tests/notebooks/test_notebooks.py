"""Every notebook runs from top to bottom; what is committed is its source and its outputs."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
BYTES_MAX = 400_000
NUMBERS = ("01", "02", "03", "04", "05", "06", "07", "08")


def load_execute():
    spec = importlib.util.spec_from_file_location("notebooks_execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair(number):
    (source,) = FOLDER.glob(f"{number}_*.py")
    return source, nbformat.read(source.with_suffix(".ipynb"), 4)


def shape(text):
    """Return a text without its digits: another processor may round the last one otherwise."""
    return re.sub(r"[-+]?[\d.,]+(e[-+]?\d+)?", "#", text)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebook_runs_and_says_what_is_committed(number):
    command = [sys.executable, str(FOLDER / "execute.py"), "--texts", number]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    fresh = json.loads(done.stdout)
    committed = load_execute().texts(pair(number)[1])
    assert [shape(one) for one in fresh] == [shape(one) for one in committed]


def test_there_are_eight_and_no_other():
    assert [source.name[:2] for source in load_execute().sources()] == list(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_committed_pair_is_one(number):
    import jupytext

    source, committed = pair(number)
    written = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in written.cells] == [
        (c.cell_type, c.source) for c in committed.cells
    ]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebook_is_small_and_ends_with_a_picture(number):
    source, committed = pair(number)
    assert source.with_suffix(".ipynb").stat().st_size < BYTES_MAX
    assert committed.cells[0].source.startswith(f"# {number} ")
    (last,) = committed.cells[-1].outputs
    assert "application/vnd.plotly.v1+json" in last.data
    outputs = [one for cell in committed.cells for one in cell.get("outputs", ())]
    assert not [one for one in outputs if one.output_type == "error"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebook_names_no_place_of_a_machine(number):
    text = pair(number)[0].with_suffix(".ipynb").read_text()
    assert not re.search(r"/(home|root|tmp|work|Users)/|https?://(?!127)", text)
