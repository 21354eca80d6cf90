"""Every notebook runs from top to bottom; what is committed is its source and its outputs."""

import base64
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from tests.notebooks.told import differing, unfounded

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
BYTES_MAX = 450_000
PICTURE_BYTES_MAX = 60_000
COLOURS_MIN = 8
FIGURE = "application/vnd.plotly.v1+json"
NUMBERS = ("01", "02", "03", "04", "05", "06", "07", "08")


def load_execute():
    spec = importlib.util.spec_from_file_location("notebooks_execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair(number):
    (source,) = FOLDER.glob(f"{number}_*.py")
    return source, nbformat.read(source.with_suffix(".ipynb"), 4)


def outputs_of(notebook):
    return [one for cell in notebook.cells for one in cell.get("outputs", ())]


def shape(text):
    """Return a text without its digits."""
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
    assert differing(fresh, committed) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_in_a_text_is_one_that_the_notebook_shows(number):
    committed = pair(number)[1]
    texts = [cell.source for cell in committed.cells if cell.cell_type == "markdown"]
    code = [cell.source for cell in committed.cells if cell.cell_type == "code"]
    shown = load_execute().texts(committed)
    assert unfounded(texts, shown, code) == []


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
    assert FIGURE in last.data
    assert not [one for one in outputs_of(committed) if one.output_type == "error"]


@pytest.mark.parametrize("number", NUMBERS)
def test_beside_each_figure_stands_a_picture_that_shows_something(number):
    figures = [one for one in outputs_of(pair(number)[1]) if FIGURE in one.get("data", {})]
    assert figures
    for one in figures:
        data = base64.b64decode(one.data["image/png"], validate=True)
        assert len(data) < PICTURE_BYTES_MAX
        picture = Image.open(io.BytesIO(data))
        picture.verify()
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        assert picture.size == (900, one.data[FIGURE]["layout"].get("height", 450))
        assert 300 <= picture.height <= 800
        counts = sorted((count for count, _ in picture.getcolors(1 << 16)), reverse=True)
        assert len(counts) >= COLOURS_MIN
        assert sum(counts[1:]) > 0.01 * picture.width * picture.height


def test_jupyterlab_opens_a_pair_whichever_file_was_written_last(tmp_path):
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

    source = pair("03")[0]
    for file in (source, source.with_suffix(".ipynb"), FOLDER / "jupytext.toml"):
        shutil.copy(file, tmp_path)
    os.utime(tmp_path / source.name, (0, 0))
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)()
    manager.root_dir = str(tmp_path)
    opened = manager.get(source.with_suffix(".ipynb").name)["content"]
    assert "image/png" in opened.cells[-1].outputs[0].data
    manager.save({"type": "notebook", "content": opened}, source.with_suffix(".ipynb").name)
    assert (tmp_path / source.name).read_text() == source.read_text()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebook_names_no_place_of_a_machine(number):
    text = pair(number)[0].with_suffix(".ipynb").read_text()
    assert not re.search(r"/(home|root|tmp|work|Users)/|https?://(?!127)", text)
