"""Plant each known defect in a copy of the tree and see that a listed test fails.

``python tests/defects/run_defects.py [word]``: all defects, or those whose name or file contains
the word. Prints a line each and a closing line; exit code 1 when one is missed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

COPIED = ("mqd", "tests", "pyproject.toml")
WORKERS = 2
TIMEOUT_S = 180
UNPLANTED_S = 3600
FAILED, NOTHING_FAILED = 1, 0


class Defect(NamedTuple):
    """One wrong change and the tests of which at least one must notice it."""

    name: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


class Outcome(NamedTuple):
    """What became of a planted defect: caught, missed, or broken (it proves nothing)."""

    defect: Defect
    verdict: str
    seconds: float
    why: str = ""


def load(folder: Path, word: str = "") -> list[Defect]:
    """Return the defects of all ``*.toml`` in a folder whose name or file contains ``word``."""
    entries = [
        Defect(**{**entry, "tests": tuple(entry["tests"])})
        for file in sorted(folder.glob("*.toml"))
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["defect"]
    ]
    return [defect for defect in entries if word in defect.name or word in defect.file]


def copy_tree(root: Path, into: Path) -> Path:
    """Copy what a defect may change, link the rest of the checkout, and return the copy."""
    into.mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name in COPIED and entry.is_dir():
            shutil.copytree(entry, into / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif entry.name in COPIED:
            shutil.copy(entry, into)
        elif not entry.name.startswith((".", "runs")):
            (into / entry.name).symlink_to(entry)
    return into


def pytest(
    tree: Path, tests: list[str], *more: str, timeout_s: float = TIMEOUT_S
) -> tuple[int, str]:
    """Run tests in a copy; return pytest's exit code and what it printed."""
    words = ["-q", "-p", "no:cacheprovider", "--no-header", *more, *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "HYPOTHESIS_PROFILE": "ci",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=timeout_s,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return FAILED, f"nothing came back within {timeout_s:g} s"
    return done.returncode, done.stdout + done.stderr


def plant(tree: Path, defect: Defect) -> Outcome:
    """Plant one defect in a copy, run its tests, take it out again, and tell what happened."""
    start = time.perf_counter()
    file = tree / defect.file
    right = file.read_text(encoding="utf-8")
    if (count := right.count(defect.find)) != 1:
        return Outcome(defect, "broken", 0.0, f"the text occurs {count} times in {defect.file}")
    wrong = right.replace(defect.find, defect.replace)
    try:
        compile(wrong, defect.file, "exec")
        file.write_text(wrong, encoding="utf-8")
        code, printed = pytest(tree, list(defect.tests), "-x")
    except SyntaxError as error:
        return Outcome(defect, "broken", 0.0, f"the planted text is no Python: {error.msg}")
    finally:
        file.write_text(right, encoding="utf-8")
    seconds = time.perf_counter() - start
    if code == FAILED:
        return Outcome(defect, "caught", seconds)
    if code == NOTHING_FAILED:
        return Outcome(defect, "missed", seconds, "its tests pass")
    return Outcome(defect, "broken", seconds, f"pytest ended with {code}: {_last_line(printed)}")


def _last_line(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def passing_unplanted(tree: Path, defects: list[Defect]) -> str:
    """Return an empty text when every listed test passes on the tree as it is, else its words."""
    tests = sorted({test for defect in defects for test in defect.tests})
    words = ("-p", "xdist.plugin", "-n", str(WORKERS), "--dist", "loadgroup")
    code, printed = pytest(tree, tests, *words, timeout_s=UNPLANTED_S)
    return "" if code == NOTHING_FAILED else printed


def run_all(root: Path, defects: list[Defect], scratch: Path) -> Iterator[Outcome]:
    """Yield the outcome of each defect in order, planted in a few copies side by side."""
    free: Queue[Path] = Queue()
    for number in range(WORKERS):
        free.put(copy_tree(root, scratch / str(number)))

    def one(defect: Defect) -> Outcome:
        tree = free.get()
        try:
            return plant(tree, defect)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(one, defects)


def main(root: Path, word: str = "") -> int:
    """Run the defects of a checkout; return 0 when all are caught."""
    defects = load(root / "tests/defects", word)
    if not defects:
        print(f"No planted defect matches {word!r}.")
        return 1
    with tempfile.TemporaryDirectory(prefix="mqd-defects-") as scratch:
        failing = passing_unplanted(copy_tree(root, Path(scratch) / "plain"), defects)
        if failing:
            print(failing)
            print("Some listed tests fail without any defect; nothing can be concluded.")
            return 1
        width = max(len(defect.name) for defect in defects)
        outcomes = []
        for outcome in run_all(root, defects, Path(scratch)):
            outcomes.append(outcome)
            line = f"{outcome.verdict}  {outcome.defect.name:<{width}}  {outcome.seconds:5.1f} s"
            print(f"{line}  {outcome.defect.file}  {outcome.why}".rstrip(), flush=True)
    verdicts = [outcome.verdict for outcome in outcomes]
    broken = f", {verdicts.count('broken')} broken" if "broken" in verdicts else ""
    print(f"{verdicts.count('caught')} caught, {verdicts.count('missed')} missed{broken}")
    return 0 if set(verdicts) == {"caught"} else 1


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2], " ".join(sys.argv[1:])))
