"""``mqd study new``: the folder of a question."""

from __future__ import annotations

from pathlib import Path

from mqd.cli import output


def new(slug: str, /, *, folder: Path = Path("research"), json: bool = False) -> int:
    """Make the folder of a study: question, a program that runs, and room for its result.

    Parameters
    ----------
    slug
        Lower-case words joined by _, such as gap_reversal.
    folder
        Where studies are.
    json
        Print one JSON document to stdout.
    """
    from mqd.study import new_study

    place = new_study(folder, slug)
    if json:
        output.print_json({"study": place})
    else:
        print(f"{place}: write the question into README.md, then run {place}/study.py")
    return 0
