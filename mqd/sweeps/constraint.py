"""``where=``: which combinations are run. A callable on a dict of one combination, or a text.

A callable is first tried on whole columns: ``lambda p: p["fast"] < p["slow"]`` is then one
comparison of arrays. Its answer counts when it is one bool a combination and agrees with single
calls on a sample of each block, ends included; else (``and``, ``if``, ``in`` raise on arrays)
each combination is asked alone. A text (``fast < slow and slow % 5 == 0``) may hold parameters,
numbers, texts, comparisons, ``and or not in``, ``+ - * / // %`` and ``abs min max``.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UsageError, did_you_mean
from mqd.strategy.fingerprints import run_fingerprint

Columns = Mapping[str, NDArray[Any]]
Mask = NDArray[np.bool_]
Where = Callable[[dict[str, Any]], Any] | str | None
N_SAMPLE = 32


class Constraint:
    """A ``where=``, ready to judge blocks of combinations. ``text`` tells it from others."""

    def __init__(self, where: Where, names: tuple[str, ...]) -> None:
        self._expression = None
        self._function = None
        if where is None:
            self.text = "none"
        elif isinstance(where, str):
            self._expression = _Expression(where, names)
            self.text = self._expression.text
        elif callable(where):
            self._function = where
            self.text = _callable_text(where)
        else:
            raise UsageError(
                f"where = {where!r}; it must be a function of one combination"
                " (lambda p: p['fast'] < p['slow']) or a text ('fast < slow')."
            )

    def mask(self, columns: Columns) -> Mask:
        """Return True for each combination that is run; ``UsageError`` when it cannot tell."""
        n = len(next(iter(columns.values())))
        if self._expression is not None:
            return self._expression.mask(columns, n)
        if self._function is None or n == 0:
            return np.ones(n, dtype=np.bool_)
        found = self._by_columns(columns, n)
        return self._one_by_one(columns, np.arange(n)) if found is None else found

    def _by_columns(self, columns: Columns, n: int) -> Mask | None:
        assert self._function is not None
        try:
            with np.errstate(all="raise"):
                found = self._function(dict(columns))
        except Exception:  # noqa: BLE001 - then each combination is asked, and that one raises
            return None
        if not (isinstance(found, np.ndarray) and found.dtype == np.bool_ and found.shape == (n,)):
            return None
        sample = np.unique(np.linspace(0, n - 1, N_SAMPLE).astype(np.int64))
        alone = self._one_by_one(columns, sample)
        return found if np.array_equal(alone, found[sample]) else None

    def _one_by_one(self, columns: Columns, places: NDArray[np.int64]) -> Mask:
        assert self._function is not None
        names = list(columns)
        lists = [columns[name][places].tolist() for name in names]
        out = np.empty(len(places), dtype=np.bool_)
        for row, values in enumerate(zip(*lists, strict=True)):
            combination = dict(zip(names, values, strict=True))
            out[row] = _truth(self._function, combination)
        return out


def _truth(function: Callable[[dict[str, Any]], Any], combination: dict[str, Any]) -> bool:
    try:
        answer = function(dict(combination))
    except KeyError as error:
        hint = did_you_mean(str(error.args[0]), combination)
        raise UsageError(f"where: {error} is no parameter of the grid.{hint}") from error
    except Exception as error:
        raise UsageError(
            f"where raised {type(error).__name__}: {error} (for {combination})."
        ) from error
    if not isinstance(answer, bool | np.bool_):
        raise UsageError(f"where returned {answer!r} for {combination}; return True or False.")
    return bool(answer)


def _callable_text(where: Callable[..., Any]) -> str:
    name = getattr(where, "__qualname__", type(where).__qualname__)
    if isinstance(where, functools.partial):
        return f"partial {_callable_text(where.func)} {where.args!r} {where.keywords!r}"
    if isinstance(where, FunctionType):
        return f"function {run_fingerprint(where)[:16]}"
    return f"callable {name}"


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_MEMBER = (ast.In, ast.NotIn)
_CALLS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "min": lambda *values: functools.reduce(np.minimum, values),
    "max": lambda *values: functools.reduce(np.maximum, values),
}


class _Expression:
    """A text as a function of columns. Only the listed kinds of node are ever evaluated."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self._names = names
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UsageError(f"where {text!r} cannot be read: {error}.") from error
        self.text = ast.unparse(self._tree)
        self._check(self._tree)

    def mask(self, columns: Columns, n: int) -> Mask:
        """Return one bool a combination."""
        try:
            with np.errstate(all="ignore"):
                found = self._value(self._tree, columns)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise UsageError(f"where {self.text!r}: {error}.") from error
        answer = np.asarray(found)
        if answer.dtype != np.bool_:
            raise UsageError(
                f"where {self.text!r} is a {answer.dtype.name}, not True or False: compare."
            )
        return np.array(np.broadcast_to(answer, (n,)))

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                if name not in self._names:
                    hint = did_you_mean(name, self._names)
                    raise UsageError(
                        f"where {self.text!r}: {name!r} is no parameter of the grid.{hint}"
                    )
            case ast.Constant(value=bool() | int() | float() | str()):
                pass
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                self._check_all(parts)
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=part):
                self._check(part)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                self._check_all([left, right])
            case ast.Compare(left=left, ops=ops, comparators=others):
                if not all(type(op) in _COMPARE or type(op) in _MEMBER for op in ops):
                    self._refuse(node)
                self._check_all([left, *others])
            case ast.Call(func=ast.Name(id=name), args=[_, *_] as parts, keywords=[]) if (
                name in _CALLS
            ):
                self._check_all(parts)
            case _:
                self._refuse(node)

    def _check_all(self, parts: list[ast.expr]) -> None:
        for part in parts:
            self._check(part)

    def _refuse(self, node: ast.expr) -> None:
        raise UsageError(
            f"where {self.text!r}: {ast.unparse(node)!r} is not allowed. Use parameters, numbers,"
            " texts, comparisons, and/or/not/in, + - * / // % and abs, min, max."
        )

    def _value(self, node: ast.expr, columns: Columns) -> Any:
        match node:
            case ast.Name(id=name):
                return columns[name]
            case ast.Constant(value=value):
                return value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [self._value(part, columns) for part in parts]
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return functools.reduce(join, (self._value(part, columns) for part in parts))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return np.logical_not(self._value(part, columns))
            case ast.UnaryOp(operand=part):
                return -self._value(part, columns)
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](self._value(left, columns), self._value(right, columns))
            case ast.Call(func=ast.Name(id=name), args=parts):
                return _CALLS[name](*(self._value(part, columns) for part in parts))
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [self._value(part, columns) for part in (left, *others)]
                pairs = zip(values[:-1], ops, values[1:], strict=True)
                return functools.reduce(np.logical_and, (_compare(*pair) for pair in pairs))
            case _:
                raise AssertionError(ast.dump(node))


def _compare(left: Any, op: ast.cmpop, right: Any) -> Any:
    if isinstance(op, _MEMBER):
        members = right if isinstance(right, list) else [right]
        found = functools.reduce(np.logical_or, (np.equal(left, one) for one in members), False)
        return np.logical_not(found) if isinstance(op, ast.NotIn) else found
    return _COMPARE[type(op)](left, right)
