"""Engines: the compiled loop against the event loop, the compiled rule against plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pandas as pd

from mqd.checks.report import Finding
from mqd.core.bar import SymbolBars
from mqd.core.clock import iso
from mqd.core.event import Topic
from mqd.core.signal import HOLD, PositionView
from mqd.errors import MqdError
from mqd.event_bus import OrderEventBus
from mqd.result import Result
from mqd.strategy.compiled import Program, program
from mqd.strategy.feature_columns import Features
from mqd.strategy.strategy import Strategy

FRAMES: Final = ("orders", "fills", "trades", "equity", "positions")
IDS: Final = frozenset({"id", "execution_id", "order_id"})


def second_run(
    run: Callable[..., Result], event: Result, engine: str = "compiled"
) -> Iterator[Finding]:
    """Yield what a second run of a fresh instance shows: frames must be equal, exact but for ids.

    The second run is that of the compiled engine. Where it cannot run the strategy a note tells
    why, and the event engine takes each step one by one instead, as it does with
    ``engine="event"``. When the two differ, a third
    run like the first tells an engine difference from chance.
    """
    other, what = None, "The compiled engine"
    if engine == "compiled":
        try:
            other = run(engine="compiled")
        except MqdError as error:
            yield Finding("not checked", f"The compiled engine does not run this: {error}")
    if other is None:
        other, what = _every_step(run), "The event engine, taking each step,"
    said = frames_apart(event, other)
    if not said:
        return
    chance = frames_apart(event, run(engine="event"))
    if chance:
        yield Finding(
            "non-determinism",
            f"Two runs over the same bars differ: {chance} Look for chance, a clock, or something"
            " kept between runs.",
        )
        return
    yield Finding(
        "engine difference",
        f"{what} gives other results than the event engine: {said} Trust neither: report this"
        " strategy with its data.",
    )


def _every_step(run: Callable[..., Result]) -> Result:
    """Run with a listener of bars: then no step is passed over."""
    bus = OrderEventBus()
    bus.subscribe(Topic.BAR, lambda _: None, name="every step")
    return run(engine="event", bus=bus)


def frames_apart(event: Result, other: Result) -> str:
    """Return the first difference between two results' frames in a sentence, "" when none."""
    for name in FRAMES:
        ours, theirs = getattr(event, name), getattr(other, name)
        said = _apart(ours, theirs)
        if said:
            return f"{name}, {said}."
    return ""


def _apart(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    columns = [name for name in ours.columns if name not in IDS]
    if columns != [name for name in theirs.columns if name not in IDS]:
        return f"columns {list(ours.columns)} and {list(theirs.columns)}"
    for name in columns:
        n = min(len(ours), len(theirs))
        left, right = ours[name].iloc[:n], theirs[name].iloc[:n]
        same = (left.to_numpy() == right.to_numpy()) | (left.isna() & right.isna()).to_numpy()
        if not same.all():
            row = int(np.argmin(same))
            place = _place(ours, row)
            return f"{name} of row {row}{place}: {left.iloc[row]!r} against {right.iloc[row]!r}"
    if len(ours) != len(theirs):
        return f"{len(ours)} rows against {len(theirs)}"
    if not ours.index.equals(theirs.index):
        return "another index"
    return ""


def _place(frame: pd.DataFrame, row: int) -> str:
    for name in ("decided", "ts_known", "entry_ts"):
        if name in frame:
            return f" ({frame[name].iloc[row]})"
    return f" ({frame.index[row]})"


def plain_python(
    strategy: Strategy, bars: SymbolBars, features: Features, seed: int
) -> Iterator[Finding]:
    """Yield a note when plain Python decides otherwise than the compiled ``decide``.

    Every ready bar of one symbol is decided by both, at a position drawn with ``seed`` where
    one is read, each with its own state. An exception in plain Python counts as a difference.
    """
    if strategy.kind != "decide":
        return
    made = program(strategy, features.names)
    if not made.compiled:
        yield Finding("plain Python", f"decide runs as plain Python everywhere: {made.reason}.")
        return
    rows: list[int] = np.flatnonzero(features.ready).tolist()
    positions = _positions(bars, seed)
    compiled = _decided(made, made.call, bars, features, positions, made.new_state())
    plain = _decided(
        made, _plain(strategy, made), bars, features, positions, _State(type(strategy).state)
    )
    apart = [row for row, a, b in zip(rows, compiled, plain, strict=True) if a != b]
    if apart:
        place = rows.index(apart[0])
        when = iso(int(bars.ts_close[apart[0]]))
        yield Finding(
            "plain Python",
            f"{len(apart)} of {len(rows)} weights of {bars.symbol} differ between the compiled"
            f" decide and plain Python, first at the bar closing {when}: {compiled[place]!r}"
            f" against {plain[place]!r}. The compiled one counts everywhere (x/0 is inf or NaN,"
            " integers are 64 bits).",
            bars.symbol, when, float(len(apart)),
        )  # fmt: skip


class _State:
    """A state as plain Python sees it."""

    def __init__(self, start: Any) -> None:
        for name, value in start.items():
            setattr(self, name, float(value))


def _plain(strategy: Strategy, made: Program) -> Callable[..., Any]:
    from mqd.strategy.jit import tuple_type

    now_type = tuple_type("Now", made.fields)
    position_type = tuple_type("Position", made.position_fields)

    def call(now: tuple[float, ...], position: tuple[float, ...], *state: Any) -> Any:
        return strategy.decide(now_type(*now), position_type(*position), *state)

    return call


def _decided(
    made: Program,
    call: Callable[..., Any],
    bars: SymbolBars,
    features: Features,
    positions: dict[str, list[float]],
    state: Any,
) -> list[Any]:
    """Return what ``call`` decides at each ready row; the text of an exception where it raises.

    NaN is written as a text too, so that two of them are equal.
    """
    named = dict(zip(features.names, features.columns, strict=True))
    columns = [
        (named[name] if name in named else getattr(bars, name)).tolist() for name in made.fields
    ]
    held = [positions[name] for name in made.position_fields]
    extra = (state,) if made.has_state else ()
    out: list[Any] = []
    for row in np.flatnonzero(features.ready).tolist():
        now = tuple([column[row] for column in columns])
        try:
            weight = float(call(now, tuple([field[row] for field in held]), *extra))
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is the answer
            out.append(type(error).__name__)
        else:
            out.append("HOLD" if weight == HOLD else "nan" if math.isnan(weight) else weight)
    return out


def _positions(bars: SymbolBars, seed: int) -> dict[str, list[float]]:
    """Return positions that could be: flat, long or short for some bars, entered at a close."""
    n = len(bars)
    dice = np.random.default_rng(seed)
    side = dice.choice([-1.0, 0.0, 1.0], n)
    held = np.minimum(dice.integers(1, 40, n), np.arange(n))
    side[held == 0] = 0.0
    entry = bars.close[np.arange(n) - held]
    peak = np.where(side < 0, np.minimum(entry, bars.low), np.maximum(entry, bars.high))
    gain = (bars.close - entry) / entry
    view = (side * bars.close / entry, side * 100.0, entry, held * 1.0, peak, side * gain)
    flat = side == 0.0
    return {
        name: np.where(flat, 0.0, values).tolist()
        for name, values in zip(PositionView._fields, view, strict=True)
    }
