"""Run notebooks from top to bottom and write their outputs: ``python notebooks/execute.py [NN]``.

``--texts NN`` runs one and prints what it said as JSON; nothing is written.

The ``.py`` file of a pair is the source, in jupytext's percent format; the ``.ipynb`` is it with
outputs. What changes from run to run (times, ids, progress bars) is left out, so that a second run
changes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 300


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


def texts(notebook: Any) -> list[str]:
    """Return what the cells printed and showed as text, pictures left out."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "application/vnd.plotly.v1+json" in data:
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
            notebook = executed(source)
            target = source.with_suffix(".ipynb")
            nbformat.write(notebook, target)
            print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
