"""``where=``: as fast as arrays where that is right, and right where it is not."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.errors import UsageError
from mqd.sweeps.constraint import N_SAMPLE, Constraint

PAIRS = list(itertools.product(range(1, 41), range(1, 61)))
COLUMNS = {"fast": np.array([a for a, _ in PAIRS]), "slow": np.array([b for _, b in PAIRS])}
DICTS = [{"fast": a, "slow": b} for a, b in PAIRS]


class Counted:
    """A constraint that counts its calls."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, p):
        self.calls += 1
        return self.function(p)


QUICK = {
    "less": lambda p: p["fast"] < p["slow"],
    "sum": lambda p: p["fast"] + p["slow"] > 50,
    "both": lambda p: (p["fast"] < p["slow"]) & (p["slow"] % 5 == 0),
    "numpy": lambda p: np.less(p["fast"], p["slow"]),
}
SLOW = {
    "and": lambda p: p["fast"] < p["slow"] and p["slow"] % 5 == 0,
    "chain": lambda p: 3 < p["fast"] < p["slow"],
    "in": lambda p: p["fast"] in (3, 5, 8),
    "if": lambda p: True if p["fast"] > 7 else p["slow"] < 3,
    "not": lambda p: not p["fast"] > p["slow"],
    "max": lambda p: max(p["fast"], p["slow"]) < 20,
    "constant": lambda p: True,
    "int": lambda p: int(p["fast"]) < 5,
    "overflow of int64": lambda p: p["fast"] ** 40 > p["slow"],
    "text": lambda p: str(p["fast"]) < str(p["slow"]),
    "size": lambda p: np.size(p["fast"]) == 1 and p["fast"] < p["slow"],
    "mean of the block": lambda p: p["fast"] <= np.mean(p["fast"]),
    "sorted by the block": lambda p: np.arange(np.size(p["fast"])) == p["fast"],
}


@pytest.mark.parametrize("function", QUICK.values(), ids=QUICK)
def test_a_comparison_of_columns_costs_a_sample(function):
    where = Counted(function)
    mask = Constraint(where, tuple(COLUMNS)).mask(COLUMNS)
    assert mask.tolist() == [bool(function(p)) for p in DICTS]
    assert where.calls <= N_SAMPLE + 1


@pytest.mark.parametrize("function", SLOW.values(), ids=SLOW)
def test_what_arrays_would_answer_otherwise_is_asked_one_by_one(function):
    if function is SLOW["sorted by the block"]:
        expected = [False] * len(PAIRS)
        with pytest.raises(UsageError, match="return True or False"):
            Constraint(function, tuple(COLUMNS)).mask(COLUMNS)
        return
    expected = [bool(function(p)) for p in DICTS]
    assert Constraint(function, tuple(COLUMNS)).mask(COLUMNS).tolist() == expected


def test_a_block_of_one_or_none():
    one = {name: column[:1] for name, column in COLUMNS.items()}
    none = {name: column[:0] for name, column in COLUMNS.items()}
    for function in (QUICK["less"], SLOW["and"]):
        constraint = Constraint(function, tuple(COLUMNS))
        assert constraint.mask(one).tolist() == [bool(function(DICTS[0]))]
        assert constraint.mask(none).tolist() == []


def test_none_lets_all_through():
    assert Constraint(None, ("fast",)).mask(COLUMNS).all()


def test_the_function_gets_plain_values_of_one_combination():
    seen = []

    def where(p):
        seen.append(p)
        return p["fast"] < p["slow"] and True

    Constraint(where, ("fast", "slow")).mask(COLUMNS)
    assert seen[-1] == {"fast": 40, "slow": 60}
    assert type(seen[-1]["fast"]) is int


WRONG = {
    "no bool": (lambda p: None, "where returned None for {'fast': 1, 'slow': 1}"),
    "number": (lambda p: p["fast"] - p["slow"], "where returned 0 for {'fast': 1, 'slow': 1}"),
    "name": (lambda p: p["fasst"] < 3, "Did you mean 'fast'?"),
    "zero": (lambda p: 1 / (p["fast"] - 1) > 2, "ZeroDivisionError"),
    "kind": (7, "it must be a function"),
}


@pytest.mark.parametrize(("where", "says"), WRONG.values(), ids=WRONG)
def test_a_function_that_cannot_tell_is_refused(where, says):
    with pytest.raises(UsageError) as caught:
        Constraint(where, tuple(COLUMNS)).mask(COLUMNS)
    assert says in str(caught.value)


NUMBERS = st.sampled_from(["fast", "slow", "3", "7", "20", "0.5", "-2"])
ARITHMETIC = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["/", "//", "%"]), st.just("7")),
        st.builds("abs({})".format, inner),
        st.builds("max({}, {})".format, inner, inner),
        st.builds("min({}, {}, 4)".format, inner, inner),
    ),
    max_leaves=4,
)
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
COMPARISONS = st.one_of(
    st.builds(
        "{} {} {}".format,
        ARITHMETIC,
        SIGNS,
        ARITHMETIC,
    ),
    st.builds("{} < {} <= {}".format, ARITHMETIC, ARITHMETIC, ARITHMETIC),
    st.builds("{} in (3, 5, slow)".format, ARITHMETIC),
    st.builds("{} not in [4, 8]".format, ARITHMETIC),
)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=4,
)
FEW = {name: column[::37] for name, column in COLUMNS.items()}


@given(EXPRESSIONS)
def test_a_text_means_what_python_means_by_it(text):
    if not any(name in text for name in FEW):
        return
    mask = Constraint(text, tuple(FEW)).mask(FEW)
    expected = [bool(eval(text, {}, p)) for p in DICTS[::37]]
    assert mask.tolist() == expected


def test_a_text_over_texts_and_switches():
    columns = {"mode": np.array(["mean", "last"]), "short": np.array([True, False])}
    mask = functools.partial(lambda text: Constraint(text, tuple(columns)).mask(columns).tolist())
    assert mask("mode == 'last'") == [False, True]
    assert mask("mode in ('mean',)") == [True, False]
    assert mask("short") == [True, False]
    assert mask("not short or mode != 'mean'") == [False, True]


REFUSED = {
    "import": ("__import__('os').system('true')", "is not allowed"),
    "attribute": ("fast.__class__ == 1", "'fast.__class__' is not allowed"),
    "call": ("open('/etc/passwd')", "is not allowed"),
    "unknown function": ("len(fast) > 1", "'len(fast)' is not allowed"),
    "keyword": ("max(fast, key=slow) > 1", "is not allowed"),
    "star": ("max(*fast) > 1", "is not allowed"),
    "lambda": ("(lambda: True)()", "is not allowed"),
    "comprehension": ("[x for x in (1,)]", "is not allowed"),
    "walrus": ("(y := fast) > 1", "is not allowed"),
    "power": ("fast ** 9 ** 9 > 1", "is not allowed"),
    "shift": ("1 << 99999 > fast", "is not allowed"),
    "if": ("1 if fast else 2", "is not allowed"),
    "index": ("fast[0] > 1", "is not allowed"),
    "f-string": ("f'{fast}' == 'x'", "is not allowed"),
    "is": ("fast is slow", "is not allowed"),
    "bytes": ("fast == b'x'", "is not allowed"),
    "none": ("fast == None", "is not allowed"),
    "statement": ("import os", "cannot be read"),
    "syntax": ("fast <", "cannot be read"),
    "empty": ("", "cannot be read"),
    "deep": ("(" * 2_000 + "fast" + ")" * 2_000, "cannot be read"),
    "name": ("fasst < slow", "Did you mean 'fast'?"),
    "number": ("fast + slow", "not True or False"),
    "texts compared": ("fast < 'x'", "where"),
    "zero": ("1 // 0 < fast", "where"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_text_is_never_run_as_code(text, says):
    with pytest.raises(UsageError) as caught:
        Constraint(text, tuple(COLUMNS)).mask(COLUMNS)
    assert says in str(caught.value)


def test_texts_of_constraints_tell_them_apart():
    limit = 7
    texts = [
        Constraint(where, ("fast", "slow")).text
        for where in (
            None, "fast < slow", "fast <= slow", lambda p: p["fast"] < p["slow"],
            lambda p: p["fast"] < limit, lambda p: p["fast"] < 8,
            functools.partial(lambda p, n: p["fast"] < n, n=7),
            functools.partial(lambda p, n: p["fast"] < n, n=8),
        )
    ]  # fmt: skip
    assert len(set(texts)) == len(texts)
    assert Constraint("fast<slow", ("fast", "slow")).text == texts[1]
