"""The fingerprint of a strategy's code: equal in every process, changed by every change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mqd
from mqd.strategy.compiled import fingerprint
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.strategy import Strategy

TEXT = """
from mqd.strategy.strategy import Strategy
from mqd import indicators
SCALE = 2.0
TABLE = (1, 2.0)
NAMED, LISTED, KNOWN = {"k": 1.0}, [[1.0], 2.0], {7, 8}
def helper(x): return x * SCALE if x in {"a", "b", "c", "d"} else TABLE[0]
class Mine(Strategy):
    n: int = 3
    level = 0.5
    levels = {"a": [1]}
    state = {"armed": 0.0}
    def features(self, bars):
        scale = NAMED["k"] * LISTED[1] * len(KNOWN) * self.levels["a"][0]
        return {"x": indicators.ema(bars.close, self.n) * scale}
    def decide(self, now, position, state): return helper(now.close) * self.level
    def on_start(self, desk): print("start")
"""


def made(text: str, **parameters: Any) -> Strategy:
    scope: dict[str, Any] = {"__name__": "fingerprinted"}
    exec(compile(text, "<text>", "exec"), scope)
    strategy: Strategy = scope["Mine"](**parameters)
    return strategy


def test_it_is_equal_in_every_process_and_at_every_line() -> None:
    code = (
        f"import sys\nscope = {{'__name__': 'fingerprinted'}}\nexec({TEXT!r}, scope)\n"
        "from mqd.strategy.compiled import fingerprint\n"
        "print(fingerprint(scope['Mine']()))"
    )
    root = Path(mqd.__file__).parents[1]
    said = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=root
        )
        said.add(done.stdout.strip())
    assert said == {fingerprint(made(TEXT))}
    assert fingerprint(made("\n\n" + TEXT)) in said


def test_parameters_are_no_part_of_it() -> None:
    assert fingerprint(SmaCross(fast=3)) == fingerprint(SmaCross())
    assert fingerprint(made(TEXT, n=5)) == fingerprint(made(TEXT))


def test_every_change_of_what_runs_changes_it() -> None:
    changes = [
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("(1, 2.0)", "(1.0, 2.0)"),
        ("x * SCALE", "x + SCALE"),
        ("level = 0.5", "level = 0.25"),
        ('"armed": 0.0', '"armed": 1.0'),
        ("indicators.ema", "indicators.sma"),
        ("* self.level", "/ self.level"),
        ('"start"', '"begin"'),
        ('"d"', '"e"'),
        ('{"k": 1.0}', '{"k": -1.0}'),
        ("[[1.0], 2.0]", "[[-1.0], 2.0]"),
        ("{7, 8}", "{7, 9}"),
        ('levels = {"a": [1]}', 'levels = {"a": [2]}'),
    ]
    texts = [TEXT, *(TEXT.replace(old, new) for old, new in changes)]
    assert len({fingerprint(made(text)) for text in texts}) == len(texts)
