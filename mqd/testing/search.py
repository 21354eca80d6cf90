"""Looks for counterexamples to several laws on the same drawn values, and shrinks each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, FlakyReplay

from mqd.testing.finding import Finding

T = TypeVar("T")
Judge = Callable[[T], Finding | None]


class _Found(Exception):
    pass


def search(
    values: st.SearchStrategy[T], judges: Mapping[str, Judge[T]], examples: int
) -> dict[str, Finding]:
    """Return the smallest finding of each judge that has one among ``examples`` values.

    The same values in the same order in every process. Every judge sees every value; a second
    pass shrinks for each judge that found something.
    """
    first: dict[str, Finding] = {}

    def look(value: T) -> None:
        for name, judge in judges.items():
            if name not in first and (finding := judge(value)) is not None:
                first[name] = finding

    if judges:
        _quiet(look, values, examples)
    return {name: _shrunk(values, judges[name], examples, found) for name, found in first.items()}


def _shrunk(
    values: st.SearchStrategy[T], judge: Judge[T], examples: int, found: Finding
) -> Finding:
    """Return the smallest finding; a judge whose answers vary ends with its last one."""
    seen = [found]

    def stop(value: T) -> None:
        finding = judge(value)
        if finding is not None:
            seen.append(finding)
            raise _Found

    try:
        _quiet(stop, values, examples)
    except (_Found, FlakyFailure, FlakyReplay):
        return seen[-1]
    return found


def _quiet(body: Callable[[T], None], values: st.SearchStrategy[T], examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, print_blob=False,
        report_multiple_bugs=False, verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(values)
    def probe(value: T) -> None:
        body(value)

    probe()
