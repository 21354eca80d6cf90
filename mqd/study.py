"""Studies: a folder with a question, the program that answers it, and what it found.

``research/NNNN_slug/`` holds ``README.md`` (question, method, verdict), ``study.py`` (the program),
``result.json`` (what it wrote) and ``trials.ndjson`` (what was tried). A result with a verdict is
frozen: a run that finds the same leaves it, one that finds another is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from mqd import trials
from mqd.errors import UsageError

SLUG: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NUMBERED: Final = re.compile(r"(\d{4})_(.+)")
RESULT: Final = "result.json"
README: Final = """# {title}

**Question.** One sentence that can turn out false.

**Data.** Which bars, and why these; `result.json` has their hash.

**Method.** What is run, how often, and what would count as an answer. Write it before the numbers.

**Verdict.** Open. Write it into `study.py` and here once the numbers are in; from then on the study
is frozen, and a new doubt is a new study.

**What would change it.** Which finding would turn the verdict.
"""
PROGRAM: Final = '''"""{title}: run me from anywhere, ``python study.py``."""

from pathlib import Path

import mqd
from mqd.market_data.datasets import default_folder
from mqd.strategy.library.sma_cross import SmaCross
from mqd.study import write_result

HERE = Path(__file__).resolve().parent
# An example that runs: question, method and sweep are to be replaced by those of this study.
QUESTION = "Is the best SMA crossover on IBM more than the best of luck?"
METHOD = "A sweep of all pairs, deflated by their number; PBO over 16 blocks."
VERDICT = None  # a sentence, once it is decided: the study is frozen then


def main() -> None:
    """Run the study and write its result."""
    bars = mqd.load_bars(default_folder() / "us_equity_daily_raw.parquet", symbols=["IBM"])
    grid = {{"fast": range(5, 46, 10), "slow": range(50, 251, 50)}}
    sweep = mqd.sweep(SmaCross, bars, grid, study=HERE)
    numbers = {{
        "combinations": len(sweep.table),
        "best_sharpe": round(float(sweep.best("sharpe")["sharpe"]), 6),
        "deflated_sharpe": round(float(sweep.deflated_sharpe()), 6),
        "pbo": round(float(sweep.pbo().pbo), 6),
    }}
    print(write_result(
        HERE, question=QUESTION, method=METHOD, bars=bars, parameters={{"grid": str(grid)}},
        numbers=numbers, verdict=VERDICT,
    ))


if __name__ == "__main__":
    main()
'''


class HashedBars(Protocol):
    """Bars that say which they are."""

    @property
    def sha256(self) -> str:
        """The hash of the data."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """Their symbols."""
        ...


def new_study(folder: str | Path, slug: str) -> Path:
    """Make ``folder/NNNN_slug`` with the next number; return it.

    Raises ``UsageError`` for a slug that is no lower-case words joined by ``_``, or one in use.
    """
    if not SLUG.fullmatch(slug):
        raise UsageError(
            f"{slug!r} is no slug: lower-case words joined by _, such as gap_reversal."
        )
    root = Path(folder)
    found = {m[2]: int(m[1]) for one in root.glob("*") if (m := NUMBERED.fullmatch(one.name))}
    if slug in found:
        raise UsageError(
            f"{root}/{found[slug]:04d}_{slug} exists. A new doubt is a new study: take another"
            " name."
        )
    place = root / f"{max(found.values(), default=0) + 1:04d}_{slug}"
    place.mkdir(parents=True)
    title = slug.replace("_", " ").capitalize()
    (place / "README.md").write_text(README.format(title=title), encoding="utf-8")
    (place / "study.py").write_text(PROGRAM.format(title=title), encoding="utf-8")
    return place


def write_result(
    folder: str | Path,
    *,
    question: str,
    method: str,
    bars: HashedBars,
    parameters: Mapping[str, Any],
    numbers: Mapping[str, Any],
    verdict: str | None,
) -> Path:
    """Write ``result.json``: question, method, numbers, the trials counted in the folder, and the
    hashes of data, code (``study.py``) and parameters. Return its path.

    Raises ``UsageError`` when there is a result with a verdict and this one is another.
    """
    place = Path(folder)
    told = {
        "question": question, "method": method,
        "data": {"sha256": bars.sha256, "symbols": list(bars.symbols)},
        "code_sha256": _sha256((place / "study.py").read_text(encoding="utf-8")),
        "parameters": dict(parameters),
        "parameters_sha256": _sha256(json.dumps(dict(parameters), sort_keys=True)),
        "trials": trials.count(place), "numbers": dict(numbers), "verdict": verdict,
    }  # fmt: skip
    file = place / RESULT
    text = json.dumps(told, indent=2, allow_nan=False) + "\n"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        before = json.loads(file.read_text(encoding="utf-8"))
        if before.get("verdict"):
            differ = [name for name in told if told[name] != before.get(name)]
            raise UsageError(
                f"{file} has a verdict and is frozen; this run differs in {', '.join(differ)}."
                " A new doubt is a new study: mqd study new SLUG."
            )
    file.write_text(text, encoding="utf-8")
    return file


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
