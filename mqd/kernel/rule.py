"""The text that joins a strategy's rule to the compiled loop.

``decide_all`` reads its arguments out of one flat tuple ``rule``: ``index`` int64 (matrix, symbol,
combination), ``start`` int64 (symbol, combination), the state or scratch arrays, then one float64
matrix (symbol, distinct, row) for each field of ``now`` and one column (combination) for each
parameter. It writes what the rule wants into the world and returns whether anything may follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mqd.core.signal import HOLD, PositionView
from mqd.kernel.books import follow_peak
from mqd.kernel.layout import MASKED, TOO_MUCH, WRONG_SHAPE
from mqd.kernel.loop import fail, is_bad, waits, wants
from mqd.strategy import jit
from mqd.strategy.entries import Shape
from mqd.strategy.position import position_view
from mqd.strategy.rebuild import rebuild


class RuleText(NamedTuple):
    """A rule ready to be bound: the function's text and scope, and its arguments in order.

    ``fields`` are the names of the matrices (all features first), ``parameters`` those of the
    columns; ``extras`` how many arrays stand between ``start`` and the matrices.
    """

    source: str
    scope: dict[str, object]
    fields: tuple[str, ...]
    parameters: tuple[str, ...]
    extras: int


def rule_text(shape: Shape, kind: str, features: tuple[str, ...], holes: bool) -> RuleText:
    """Write what joins a rule of this shape to the loop.

    ``features`` are all that the strategy returns: each must be finite for the rule to be asked.
    ``holes``: a feature may be missing after its first value, so every bar is looked at.
    """
    read = tuple(name for name in shape.fields if name not in features and name != "tradable")
    fields = (*features, *read)
    extras = 3 if kind == "allocate" else int(shape.takes_state)
    body = _allocate if kind == "allocate" else _decide
    names = {name: f"rule[{2 + extras + i}]" for i, name in enumerate(fields)}
    own = [f"rule[{2 + extras + len(fields) + i}][c]" for i in range(len(shape.self_names))]
    ready = " and ".join(
        ["row >= rule[1][p, c]"]
        + [f"isfinite({_value(names, fields, name)})" for name in features if holes]
    )
    scope: dict[str, object] = {
        "ask": rebuild(shape.rule, inside=True),
        "Self": jit.argument_type("Self", shape.self_names),
        "Now": jit.argument_type("Now", shape.fields),
        "Position": jit.argument_type("Position", shape.position_fields),
        "position_view": position_view, "wants": wants, "waits": waits, "is_bad": is_bad,
        "fail": fail, "HOLD": HOLD, "MASKED": MASKED, "TOO_MUCH": TOO_MUCH,
        "WRONG_SHAPE": WRONG_SHAPE,
    }  # fmt: skip
    source = _HEAD + body(shape, names, fields, _made("Self", own), ready)
    return RuleText(source, scope, fields, shape.self_names, extras)


def bind(text: RuleText) -> dict[str, Any]:
    """Return ``decide_all`` as the loop's stand-in is bound to it."""
    scope = dict(text.scope)
    exec(compile(text.source, "<mqd rule>", "exec"), scope)  # noqa: S102 - our own text
    return {"decide_all": scope["decide_all"]}


def next_change(
    shape: Shape, features: tuple[str, ...], watched: tuple[str, ...], own: tuple[Any, ...]
) -> RuleText:
    """Write the function that ``alone`` asks: the rule over the bars of a stretch.

    ``entry(rows, columns, ints, floats, books, account, closes, start, step, stop, last)``
    returns the first step before ``stop`` whose weight is neither ``last`` nor HOLD and leaves it
    in ``floats[0]``, else ``stop``; with ``last`` NaN every weight counts. ``rows`` (distinct,
    bar) holds all features, ``ints`` the row of each, then the whole parameters; ``columns``
    (field, bar) the bars' own columns; ``floats`` the weight, then the other parameters; ``own``
    are the parameters' types. ``watched`` features may be missing after ``start``.
    """
    peaks = "peak_px" in shape.position_fields
    read = dict.fromkeys([*shape.fields, *(_PEAK_FIELDS if peaks else ())])
    fields = (*features, *(name for name in read if name not in features))
    n_features = len(features)
    values = {name: f"rows[uintp(ints[{i}]), at]" for i, name in enumerate(features)}
    values |= {name: f"columns[{i}, at]" for i, name in enumerate(fields[n_features:])}
    known = " and ".join([f"isfinite({values[name]})" for name in watched] or ["True"])
    places = [PositionView._fields.index(name) for name in shape.position_fields]
    now = _made("Now", [values[name] for name in shape.fields])
    position = _made("Position", [f"view[{i}]" for i in places])
    follow = _FOLLOW.format(*(values[name] for name in _PEAK_FIELDS)) if peaks else ""
    parameters = [_parameter(kind, i, n_features) for i, kind in enumerate(own)]
    source = f"""
from math import isfinite
def entry(rows, columns, ints, floats, books, account, closes, start, step, stop, last):
    own = {_made("Self", parameters)}
    a, b = account[0], books[0]
    step = max(step, min(start, stop))
    while step < stop:
        at = uintp(step)
{follow}\
        if {known}:
{_VIEW_ALONE if places else ""}\
            weight = float(ask(own, {now}, {position}))
            if weight != last and (weight != HOLD or last != last):
                floats[0] = weight
                return step
        step += 1
    return stop
"""
    scope: dict[str, object] = {
        "ask": rebuild(shape.rule, inside=True), "rule": None, "uintp": np.uintp, "HOLD": HOLD,
        "Self": jit.argument_type("Self", shape.self_names),
        "Now": jit.argument_type("Now", shape.fields),
        "Position": jit.argument_type("Position", shape.position_fields),
        "position_view": position_view, "follow_peak": follow_peak,
    }  # fmt: skip
    scope["rule"] = scope["ask"]
    return RuleText(source, scope, fields, shape.self_names, 0)


def _parameter(kind: Any, place: int, n_features: int) -> str:
    """Return the text of a parameter, the ``place``-th, of numba's type ``kind``."""
    from numba import types

    if isinstance(kind, types.Boolean):
        return f"ints[{n_features + place}] != 0"
    whole = isinstance(kind, types.Integer)
    return f"ints[{n_features + place}]" if whole else f"floats[{1 + place}]"


_PEAK_FIELDS = ("high", "low")
_FOLLOW = """\
        if b.lots:
            follow_peak(b, {}, {})
"""
_VIEW_ALONE = """\
            value = b.lots * closes[at] * b.lot_quanta
            slot = float(a.cash + value) * a.share
            units = (b.lots_per_share, a.quanta_per_unit)
            held = step - b.entry_row + 1
            view = position_view(b.lots, b.cost, value, slot, units, held, b.peak_px)
"""


_HEAD = """
from math import isfinite, nan
def decide_all(w, step, c, equity, rule):
    changed = False
    slot = float(equity) * w.account.share
"""


def _value(names: Mapping[str, str], fields: tuple[str, ...], name: str) -> str:
    return f"{names[name]}[p, rule[0][{fields.index(name)}, p, c], row]"


def _made(kind: str, arguments: list[str]) -> str:
    """Return the text that makes a named tuple; numba has no empty ones, so 0.0 stands in."""
    return f"{kind}({', '.join(arguments)})" if arguments else "0.0"


_VIEW = """\
            value = b.lots * b.mark * b.lot_quanta
            units = (b.lots_per_share, w.account.quanta_per_unit)
            held = b.row - b.entry_row + 1
            view = position_view(b.lots, b.cost, value, slot, units, held, b.peak_px)
"""


def _decide(
    shape: Shape, names: Mapping[str, str], fields: tuple[str, ...], own: str, ready: str
) -> str:
    now = _made("Now", [_value(names, fields, name) for name in shape.fields])
    places = [PositionView._fields.index(name) for name in shape.position_fields]
    position = _made("Position", [f"view[{i}]" for i in places])
    state = ", rule[2][p]" if shape.takes_state else ""
    return f"""\
    for p in range(len(w.books)):
        row = w.rows[step, p]
        if row < 0:
            continue
        b = w.books[p]
        if {ready}:
{_VIEW if places else ""}\
            weight = float(ask({own}, {now}, {position}{state}))
            if is_bad(w.account, step, p, weight):
                return False
            changed = wants(w.account, b, weight) or changed
        elif waits(b):
            changed = True
    return changed
"""


def _allocate(
    shape: Shape, names: Mapping[str, str], fields: tuple[str, ...], own: str, ready: str
) -> str:
    now = _made(
        "Now",
        [
            "rule[2]" if name == "tradable" else f"rule[3][{fields.index(name)}]"
            for name in shape.fields
        ],
    )
    fill = "\n".join(
        f"        rule[3][{i}, p] = {_value(names, fields, name)} if row >= 0 else nan"
        for i, name in enumerate(fields)
    )
    places = [PositionView._fields.index(name) for name in shape.position_fields]
    position = _made("Position", [f"rule[4][{i}]" for i in places])
    views = f"""\
        for i in range({len(PositionView._fields)}):
            rule[4][i, p] = 0.0
        if b.row >= 0:
{_VIEW}\
            for i in range({len(PositionView._fields)}):
                rule[4][i, p] = view[i]
"""
    return f"""\
    known = False
    for p in range(len(w.books)):
        row = w.rows[step, p]
        b = w.books[p]
        ready = row >= 0 and {ready}
        rule[2][p] = ready
        known = known or ready
{fill}
{views if places else ""}\
    if not known:
        for b in w.books:
            changed = waits(b) or changed
        return changed
    weights = ask({own}, {now}, {position})
    if len(weights) != len(w.books):
        fail(w.account, WRONG_SHAPE, step, 0, float(len(weights)))
        return False
    for p in range(len(w.books)):
        if is_bad(w.account, step, p, float(weights[p])):
            return False
    total = 0.0
    for p in range(len(w.books)):
        weight = float(weights[p])
        if weight == HOLD:
            total += abs(w.books[p].raw)
            continue
        if weight != 0.0 and not rule[2][p]:
            fail(w.account, MASKED, step, p, weight)
            return False
        total += abs(weight)
    if total > w.account.multiplier + 1e-9:
        fail(w.account, TOO_MUCH, step, 0, total)
        return False
    for p in range(len(w.books)):
        changed = wants(w.account, w.books[p], float(weights[p])) or changed
    return changed
"""
