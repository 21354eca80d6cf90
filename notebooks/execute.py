"""Run notebooks from top to bottom and write their outputs: ``python notebooks/execute.py [NN]``.

``--texts NN`` runs one and prints what it said as JSON; nothing is written.

The ``.py`` file of a pair is the source, in jupytext's percent format; the ``.ipynb`` is it with
outputs. What changes from run to run (times, ids, progress bars) is left out, so that a second run
changes nothing. Beside each figure of plotly stands a PNG, drawn by Chromium, for viewers that run
no scripts.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 300
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/png"
WIDTH_PX, HEIGHT_PX, COLOURS = 900, 450, 128
PAGE = """<!doctype html><meta charset="utf-8"><script>%(plotly)s</script><body><script>
const drawn = %(figures)s.map(async figure => {
  const place = document.body.appendChild(document.createElement("div"));
  await Plotly.newPlot(place, figure);
  return Plotly.toImage(place, {format: "png", width: %(width)s,
                                height: figure.layout.height || %(height)s});
});
Promise.all(drawn).then(pictures => {
  const said = document.createElement("pre");
  said.textContent = JSON.stringify(pictures);
  document.body.replaceChildren(said);
});
</script></body>"""


def sources() -> list[Path]:
    """Return the notebooks' sources in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def executed(source: Path) -> Any:
    """Return a notebook that was run in the notebooks' folder; an error in a cell is raised."""
    notebook = jupytext.read(source)
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )  # fmt: skip
    client.execute()
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """Return the notebook without what differs between two runs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "jupytext": {"formats": "ipynb,py:percent"},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined([one for one in cell.outputs if one.get("name") != "stderr"])
            for output in cell.outputs:
                output.pop("execution_count", None)
                output["metadata"] = {}
                if output.output_type == "stream":
                    output.pop("metadata")
                if output.output_type == "execute_result":
                    output["execution_count"] = cell.execution_count
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Return outputs with what was printed in one piece: a kernel cuts it where it likes."""
    found: list[Any] = []
    for one in outputs:
        if found and one.output_type == found[-1].output_type == "stream":
            found[-1]["text"] += one["text"]
        else:
            found.append(one)
    return found


def pictured(notebook: Any) -> Any:
    """Return the notebook with a picture beside each figure."""
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if FIGURE in output.get("data", {})
    ]
    made = pictures([output.data[FIGURE] for output in shown])
    for output, picture in zip(shown, made, strict=True):
        output.data[PICTURE] = base64.b64encode(picture).decode()
    return notebook


def pictures(figures: list[Any]) -> list[bytes]:
    """Return each figure as a PNG of few colours, which is small."""
    import plotly.offline
    from PIL import Image

    told = {
        "plotly": plotly.offline.get_plotlyjs(), "width": WIDTH_PX, "height": HEIGHT_PX,
        "figures": json.dumps(figures).replace("</", "<\\/"),
    }  # fmt: skip
    found = []
    for one in drawn(PAGE % told):
        image = Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2]))).convert("RGB")
        file = io.BytesIO()
        image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(file, "png", optimize=True)
        found.append(file.getvalue())
    return found


def drawn(page: str) -> list[str]:
    """Return what the page draws, as addresses that hold the data."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("The pictures need Chromium: apt-get install -y chromium.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(page, encoding="utf-8")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile",
            "--virtual-time-budget=20000", "--dump-dom", file.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    found = re.search(r"<pre>(.*)</pre>", done.stdout)
    if found is None:
        raise SystemExit(f"Chromium drew no pictures: {done.stderr[-2000:]}")
    pictures: list[str] = json.loads(found[1])
    return pictures


def texts(notebook: Any) -> list[str]:
    """Return what the cells printed and showed as text, pictures left out."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if FIGURE in data:
                found.append("picture")
            else:
                found.append(output.get("text") or data.get("text/plain", ""))
    return found


def main(wanted: list[str]) -> None:
    """Run the notebooks whose numbers are given, all without any, and write them."""
    if wanted[:1] == ["--texts"]:
        (source,) = FOLDER.glob(f"{wanted[1]}_*.py")
        print(json.dumps(texts(executed(source))))
        return
    for source in sources():
        if not wanted or source.name[:2] in wanted:
            notebook = pictured(executed(source))
            target = source.with_suffix(".ipynb")
            nbformat.write(notebook, target)
            print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
