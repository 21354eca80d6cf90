"""What a function's bytecode gives away, and what it does not."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.checks.effects import depends_on_hashes, effects
from mqd.checks.purity import numbers_in, purity, reached_by

KEPT = {}
LISTED = []
ARRAY = np.zeros(3)
HOME = Path()


def writes_item():
    KEPT["a"] = 1


def adds_to_item():
    KEPT["a"] += 1


def writes_deep():
    KEPT["a"]["b"][3] = 1


def deletes():
    del KEPT["a"]


def by_another_name():
    kept = KEPT
    kept["a"] = 1


def appends():
    LISTED.append(1)


def sets_default():
    return KEPT.setdefault("a", []).append(1)


def sorts_array():
    ARRAY.sort()


def writes_slice():
    ARRAY[1:2] = 0.0


def assigns():
    global KEPT  # noqa: PLW0603 - what is looked for
    KEPT = {}


def outer():
    count = 0

    def inner():
        nonlocal count
        count += 1
        return count

    return inner


@pytest.mark.parametrize(
    "function",
    [writes_item, adds_to_item, writes_deep, deletes, by_another_name, appends, sets_default,
     sorts_array, writes_slice, assigns, outer()],
    ids=lambda one: one.__name__,
)  # fmt: skip
def test_a_write_outside_is_seen(function):
    assert [one.kind for one in effects(function)] == ["write"]


def own(values):
    kept = {}
    kept["a"] = 1
    out = values
    out = out.copy()
    out[0] = 1.0
    rows = [np.zeros(2)]
    rows[0][1] += 2.0
    rows.append(np.sort(out))
    np.put(rows[0], 0, 1.0)

    def inner():
        kept["b"] = 2

    inner()
    return {**kept, "c": KEPT.get("a"), "d": sorted(LISTED), "e": math.sqrt(2.0)}


def of(text, imports=""):
    """Return a function that computes an expression, in a module with these imports."""
    scope = {}
    exec(f"{imports}\ndef call():\n    return {text}", scope)
    return scope["call"]


SEEDED = [
    of("dice.default_rng(7).normal()", "import numpy.random as dice"),
    of("Random(7).random()", "from random import Random"),
    of("pd.Timestamp('2020-01-02', tz='UTC')", "import pandas as pd"),
    of("time.strftime('%Y', (2020,) * 9)", "import time"),
    of("date(2020, 1, 1)", "from datetime import date"),
]


@pytest.mark.parametrize("function", [own, *SEEDED])
def test_work_on_own_values_is_none(function):
    assert list(effects(function)) == []


def test_a_guarded_argument_may_not_be_written():
    def features(self, bars):
        self.memo["a"] = 1
        bars.close[0] += 1.0
        bars.actions.append(2)

    found = [one.what.split(" ", 1)[1] for one in effects(features, ("self", "bars"))]
    assert found == [
        "writes to self.memo", "writes to bars.close", "calls append() on bars.actions",
    ]  # fmt: skip
    assert list(effects(features)) == []


def test_a_guarded_name_made_anew_is_free():
    def features(self, bars):
        close = bars.close
        close = close.copy()
        close[0] = 1.0
        return close

    assert list(effects(features, ("self", "bars"))) == []


@pytest.mark.parametrize(
    ("kind", "text", "imports"),
    [
        ("clock", "time.time()", "import time"),
        ("clock", "clock.perf_counter_ns()", "import time as clock"),
        ("clock", "now()", "from time import time as now"),
        ("clock", "dt.datetime.now()", "import datetime as dt"),
        ("clock", "date.today()", "from datetime import date"),
        ("clock", "pd.Timestamp.utcnow()", "import pandas as pd"),
        ("chance", "random.random()", "import random"),
        ("chance", "draw()", "from random import random as draw"),
        ("chance", "np.random.rand(3)", "import numpy as np"),
        ("chance", "rand(3)", "from numpy.random import rand"),
        ("chance", "default_rng()", "from numpy.random import default_rng"),
        ("environment", "os.environ['HOME']", "import os"),
        ("environment", "environ['HOME']", "from os import environ"),
        ("environment", "os.getenv('HOME')", "import os"),
        ("files", "open('x')", ""),
        ("files", "Path('x').read_text()", "from pathlib import Path"),
        ("files", "pd.read_csv('x')", "import pandas as pd"),
        ("files", "np.load('x')", "import numpy as np"),
        ("network", "urllib.request.urlopen('x')", "import urllib.request"),
        ("process", "subprocess.run(['x'])", "import subprocess"),
    ],
)
def test_a_hidden_input_is_seen(kind, text, imports):
    assert [one.kind for one in effects(of(text, imports))] == [kind]


def test_an_import_within_is_seen():
    scope = {}
    body = "import subprocess as p; from time import time as s; return p.run([str(s())])"
    exec(f"def f():\n    {body}", scope)
    assert {one.kind for one in effects(scope["f"])} == {"process", "clock"}


def test_sets_and_hashes_are_seen():
    assert depends_on_hashes(of("{a, 1}"))
    assert depends_on_hashes(of("hash(a)"))
    assert depends_on_hashes(of("[b for b in {c for c in a}]"))
    assert not depends_on_hashes(of("sorted(a) + [KEPT]"))


@pytest.mark.parametrize(
    ("value", "n"),
    [
        (1.5, 1), ([1.0] * 70, 70), (np.zeros((8, 9)), 72), (np.zeros(90, dtype=int), 0),
        ({"a": np.zeros(40), "b": [1.0, 2.0]}, 42), (pd.DataFrame({"a": [0.5] * 65, "b": 1}), 65),
        (frozenset(f"d{k}" for k in range(100)), 0), ("text" * 100, 0), (range(100), 0),
    ],
)  # fmt: skip
def test_numbers_are_counted_and_words_are_not(value, n):
    assert numbers_in(value) == n


def helper(values):
    return deeper(values)


@lru_cache
def deeper(values):
    LISTED.append(values)
    return 1.0


class Helped(mqd.Strategy):
    def features(self, bars):
        return {"signal": self.signal(bars) * helper(3)}

    def signal(self, bars):
        return np.zeros(len(bars)) + float(HOME.read_text())

    def decide(self, now, position):
        return 1.0


def test_helpers_methods_and_cached_functions_are_followed():
    names = {function.__name__ for function in reached_by(Helped()).functions}
    assert names == {"features", "signal", "helper", "deeper", "decide"}
    said = [one.sentence for one in purity(Helped())]
    assert len(said) == 2
    assert any("deeper calls append() on the global LISTED" in one for one in said)
    assert any("Helped.signal uses read_text()" in one for one in said)
    assert all("test_effects.py, line " in one for one in said)
