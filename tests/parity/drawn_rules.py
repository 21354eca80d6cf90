"""Strategies whose rules are drawn from a grammar: the text of a class, and the class of a text."""

from __future__ import annotations

import random
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import mqd

FEATURES = {
    "move": "change(bars.close, self.n)",
    "thin": "np.where(bars.volume > 0.0, np.log10(np.maximum(bars.volume, 1.0)), np.nan)",
    "swing": "np.sin(np.arange(len(bars)) * (1.0 + abs(self.a)) + ord(bars.symbol[0]))",
}
"""What a drawn rule may know; ``thin`` is missing wherever nothing traded."""

BAR = (
    "(now.close / now.open - 1.0) * 20.0", "now.close / now.high", "1.0 - now.low / now.close",
    "now.volume / (now.volume + 5000.0)", "now.session_index % 5.0", "now.minutes_to_close / 390.0",
)  # fmt: skip
HELD = (
    "position.weight", "position.unrealized_frac * 10.0", "position.bars_held / 6.0",
    "sign_of(position.qty)", "1.0 - position.avg_px / now.close",
    "position.peak_px / now.close - 0.99",
)  # fmt: skip
OWN = ("self.a", "self.b", "self.n * 0.1", "0.5", "-0.25", "0.003", "2.0")
STATE = ("state.seen / 4.0", "state.mood")
TARGETS = ("1.0", "0.0", "-1.0", "0.5", "self.a", "self.b", "-0.3", "0.95")


def change(close: Any, n: int) -> Any:
    """Return the simple return over ``n`` bars, NaN before."""
    out = np.full(len(close), np.nan)
    out[n:] = close[n:] / close[:-n] - 1.0 if n < len(close) else np.nan
    return out * 10.0


def clip(x: float) -> float:
    """Return ``x`` cut to [-1, 1]."""
    return max(-1.0, min(1.0, x))


def sign_of(x: float) -> float:
    """Return -1.0, 0.0 or 1.0."""
    if x > 0.0:
        return 1.0
    return -1.0 if x < 0.0 else 0.0


def coarse(x: float) -> float:
    """Return one of five weights."""
    return clip(round(x * 2.0) / 2.0)


class Kind(NamedTuple):
    """What a drawn class reads, and whether its weights may leave [-1, 1]."""

    held: bool = False
    state: bool = False
    features: tuple[str, ...] = ("move", "swing")
    wild: bool = False


KINDS = (
    Kind(), Kind(features=("thin", "swing")), Kind(held=True), Kind(state=True),
    Kind(held=True, state=True, features=("move", "thin")), Kind(held=True, wild=True, features=()),
)  # fmt: skip


class Grammar:
    """Draws expressions; the same ``rng`` draws the same ones."""

    def __init__(self, rng: random.Random, kind: Kind) -> None:
        self._rng, self._kind = rng, kind
        own = [f"now.{name}" for name in kind.features]
        self._leaves = [*own, *own, *OWN, *BAR]
        self._leaves += HELD * 2 if kind.held else ()
        self._leaves += STATE * 3 if kind.state else ()

    def number(self, depth: int) -> str:
        """Return the text of a number."""
        leaf = self._rng.choice(self._leaves)
        if depth == 0 or self._rng.random() < 0.2:
            return leaf
        x, y = self.number(depth - 1), self.number(depth - 1)
        shape = self._rng.choice(
            ["({x} + {y})", "({x} - {y})", "{x} * {y}", "{x} / (0.1 + abs({y}))", "clip({x})",
             "max({x}, {y})", "({x} if {c} > 0.2 else {y})"]
        )  # fmt: skip
        return shape.format(x=x, y=y, c=leaf)

    def truth(self, depth: int) -> str:
        """Return the text of a condition."""
        if depth == 0:
            sign = self._rng.choice(["<", ">", ">="])
            return f"{self.number(1)} {sign} {self.number(1)}"
        shape = self._rng.choice(["({x}) and ({y})", "({x}) or ({y})", "not ({x})"])
        return shape.format(x=self.truth(depth - 1), y=self.truth(depth - 1))

    def weight(self) -> str:
        """Return the text of what the rule answers."""
        wild = ["self.a / self.b", "self.a * 3.0"] if self._kind.wild else []
        return self._rng.choice(
            [*self._rng.sample(TARGETS, 3), "mqd.HOLD", "mqd.HOLD", f"coarse({self.number(2)})",
             f"clip({self.number(2)})", *wild]
        )  # fmt: skip

    def body(self) -> list[str]:
        """Return the lines of a rule."""
        lines = [f"x = {self.number(3)}"]
        self._leaves.append("x")
        if self._kind.state:
            lines += [
                "state.seen = state.seen + 1.0",
                f"state.mood = clip(0.5 * state.mood + {self.number(1)})",
                f"if {self.truth(0)}:", "    state.seen = 0.0",
            ]  # fmt: skip
        for _ in range(self._rng.choice([2, 3])):
            lines += [f"if {self.truth(self._rng.randrange(2))}:", f"    return {self.weight()}"]
        return [*lines, f"return {self.weight()}"]


def text_of(seed: int, kind: Kind) -> str:
    """Return the text of a class whose rule is drawn from ``seed``."""
    body = "\n        ".join(Grammar(random.Random(seed), kind).body())
    features = ", ".join(f'"{name}": {FEATURES[name]}' for name in kind.features)
    state = '\n    state = {"seen": 0.0, "mood": 0.25}' if kind.state else ""
    return f"""
class Drawn{seed}(mqd.Strategy):
    a: float = mqd.param(0.6, low=-1.0, high=1.0)
    b: float = mqd.param(-0.4, low=-1.0, high=1.0)
    n: int = mqd.param(2, low=1, high=9){state}

    def features(self, bars):
        return {{{features}}}

    def decide(self, now, position{", state" if kind.state else ""}):
        {body}
"""


@cache
def drawn_class(seed: int, kind: Kind) -> type[mqd.Strategy]:
    """Return the class drawn from ``seed``."""
    scope: dict[str, Any] = {
        "__name__": f"drawn_rules_{seed}", "mqd": mqd, "np": np, "clip": clip, "sign_of": sign_of,
        "coarse": coarse, "change": change,
    }  # fmt: skip
    exec(compile(text_of(seed, kind), f"<drawn rule {seed}>", "exec"), scope)
    made: type[mqd.Strategy] = scope[f"Drawn{seed}"]
    return made
