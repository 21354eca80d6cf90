"""Functions copied with all that they reach: bindings, names, and the texts that key them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from numba import njit

import mqd
from mqd.strategy import jit
from mqd.strategy.code_cache import fingerprint, rebuild
from mqd.strategy.fingerprints import Unnameable, exact_text

ROOT = Path(mqd.__file__).parents[1]


def defined(text: str, name: str = "main", **scope: object) -> Any:
    """Return what a module's text defines under ``name``."""
    module = ModuleType("written")
    module.__dict__.update(scope)
    exec(text, module.__dict__)
    return module.__dict__[name]


FLAGGED = """
EXITS = True
SIZE = 2.0
def weigh(x):
    return x * SIZE
def inner(x):
    if EXITS:
        return x + "no number"
    return weigh(x)
def main(x):
    return inner(x) + SIZE
"""


def test_a_flag_vanishes_with_its_branch_and_a_stand_in_is_compiled() -> None:
    main = defined(FLAGGED)
    assert rebuild(main, {"EXITS": False})(3.0) == 8.0
    assert rebuild(main, {"EXITS": False, "SIZE": 5.0})(3.0) == 20.0
    other = defined("SIZE = 7.0\ndef stands_in(x):\n    return x - SIZE", "stands_in")
    assert rebuild(main, {"EXITS": False, "weigh": other})(3.0) == -2.0
    assert main.__globals__["EXITS"] is True
    with pytest.raises(Exception, match=r"Invalid use|No implementation|unsupported"):
        rebuild(main)(3.0)


def test_a_binding_meets_only_globals_of_the_module_that_defines_them() -> None:
    outside = defined("def main(x):\n    return x * LEVEL", LEVEL=3.0)
    free = defined(
        "def make():\n    LEVEL = 4.0\n    def f(x):\n        return x * LEVEL\n    return f",
        "make",
    )()
    assert rebuild(outside, {"LEVEL": 5.0})(1.0) == 5.0
    assert rebuild(free, {"LEVEL": 5.0})(1.0) == 4.0
    assert rebuild(outside, {"OTHER": 5.0})(1.0) == 3.0
    without = defined("def main(x):\n    return abs(x)")
    assert rebuild(without, {"abs": 5.0})(-1.0) == 1.0


def test_no_binding_goes_into_a_dispatcher() -> None:
    users = rebuild(defined("EXITS = 0.5\ndef main(x):\n    return x * EXITS"))
    kernel = defined(
        "EXITS = True\ndef run(x): return 0.0\ndef main(x):\n    return run(x) if EXITS else -1.0"
    )
    bindings = {"run": users, "EXITS": True}
    assert rebuild(kernel, bindings)(4.0) == 2.0
    assert rebuild(kernel, bindings, suffix="abc")(4.0) == 2.0
    assert rebuild(kernel, {**bindings, "EXITS": False})(4.0) == -1.0


BACK_AND_FORTH = """
def main(n):
    return 0 if n == 0 else other(n - 1)
def other(n):
    return 1 if n == 0 else main(n - 1)
"""


@pytest.mark.filterwarnings("ignore:First-class function type")
def test_functions_of_a_module_a_tuple_and_a_closure_are_compiled_with_it() -> None:
    helpers = ModuleType("helpers")
    exec("def up(x):\n    return x + 1.0\ndef down(x):\n    return x - 1.0", helpers.__dict__)
    text = "def first(x):\n    return h.up(x)\ndef main(x):\n    return first(x) * h.down(x)"
    assert rebuild(defined(text, h=helpers))(3.0) == 8.0
    pair = (helpers.up, helpers.down)
    assert rebuild(defined("def main(x):\n    return pair[1](x)", pair=pair))(3.0) == 2.0
    assert [rebuild(defined(BACK_AND_FORTH))(n) for n in (0, 1, 2, 3)] == [0, 1, 0, 1]


def test_two_modules_that_look_alike_to_numba_stay_apart() -> None:
    one, two = ModuleType("h"), ModuleType("h")
    exec("def f(x):\n    return x + 1.0\ndef g(x):\n    return x", one.__dict__)
    exec("def f(x):\n    return x + 100.0", two.__dict__)
    text = (
        "def first(x):\n    return b.f(x)\ndef main(x):\n    return first(x) * 1000.0 + a.g(a.f(x))"
    )
    main = defined(text, a=one, b=one)
    main.__globals__["first"] = defined("def first(x):\n    return b.f(x)", "first", b=two)
    assert rebuild(main)(0.0) == 100_001.0


def test_a_suffix_names_every_copy_and_the_options_of_a_dispatcher_stay() -> None:
    fast = njit(fastmath=True)(defined("def quick(x):\n    return x + 1.0", "quick"))
    main = defined(
        "def helper(x):\n    return quick(x)\ndef main(x):\n    return helper(x)", quick=fast
    )
    made = rebuild(main, suffix="k7")
    copy = made.py_func
    helper = copy.__globals__["helper"].py_func
    quick = helper.__globals__["quick"]
    assert [f.__qualname__ for f in (copy, helper, quick.py_func)] == [
        "main_k7",
        "helper_k7",
        "quick_k7",
    ]
    assert {f.__module__ for f in (copy, helper, quick.py_func)} == {"mqd_k7"}
    assert {f.__globals__["__name__"] for f in (copy, helper, quick.py_func)} == {"mqd_k7"}
    assert quick.targetoptions["fastmath"] is True
    assert quick is not fast
    assert made.targetoptions["error_model"] == "numpy"
    assert made.targetoptions["nogil"] is True
    assert "fastmath" not in made.targetoptions
    symbols = _symbols(made)
    assert symbols
    assert all("k7" in name for name in symbols)


def _symbols(dispatcher: Any) -> list[str]:
    """Return the names under which the machine code of the user's functions is linked."""
    dispatcher(1.0)
    (version,) = dispatcher.overloads.values()
    module = version.library._final_module
    linked = [f.name for f in module.functions if not f.is_declaration]
    linked += [g.name for g in module.global_variables if "NumbaEnv" in g.name]
    return [n for n in linked if any(part in n for part in ("main", "helper", "quick", "lambda"))]


def test_functions_defined_inside_a_copy_carry_its_suffix() -> None:
    text = (
        "def helper(f, x):\n    return f(x)\ndef main(x):\n    return helper(lambda y: y * 3.0, x)"
    )
    symbols = _symbols(rebuild(defined(text), suffix="k7"))
    before_arguments = [name.split("CPUDispatcher")[0] for name in symbols]
    assert any("lambda" in name for name in before_arguments)
    assert all("k7" in name for name in before_arguments)


def test_argument_classes_of_other_fields_have_other_names() -> None:
    one, two = (jit.argument_type("Now", fields) for fields in (("a", "b"), ("b", "a")))
    assert one.__name__ != two.__name__
    assert jit.argument_type("Now", ("a", "b")).__name__ == one.__name__


BASE = """
LEVEL = 2.0
def helper(x, y=1.0):
    return x * LEVEL + y
def main(x):
    return helper(x) + h.deep(x) + pick(x)
"""
DEEP = "def deep(x):\n    return x + INSIDE\nINSIDE = 0.5\nUNREAD = 1"
Point = namedtuple("Point", ("a", "b"))  # noqa: PYI024


def keyed(text: str = BASE, deep: str = DEEP, **scope: object) -> str:
    helpers = ModuleType("h")
    exec(deep, helpers.__dict__)
    return fingerprint(defined(text, h=helpers, **{"pick": math.floor, **scope}))


def test_every_change_of_what_runs_changes_the_key_and_no_other_does() -> None:
    before = keyed()
    assert before
    same = [
        keyed("# a comment\n\n" + BASE.replace("return", "# why\n    return")),
        keyed(BASE + "\nUNREAD = 3\ndef unread(x):\n    return x"),
        keyed(deep=DEEP.replace("UNREAD = 1", "UNREAD = 2")),
    ]
    assert set(same) == {before}
    other = [
        keyed(BASE.replace("LEVEL = 2.0", "LEVEL = 3.0")),
        keyed(BASE.replace("LEVEL = 2.0", "LEVEL = 2")),
        keyed(BASE.replace("LEVEL = 2.0", "LEVEL = -0.0")),
        keyed(BASE.replace("LEVEL = 2.0", "LEVEL = 0.0")),
        keyed(BASE.replace("y=1.0", "y=1.5")),
        keyed(BASE.replace("+ y", "- y")),
        keyed(deep=DEEP.replace("0.5", "0.25")),
        keyed(deep=DEEP.replace("x +", "x -")),
        keyed(pick=math.ceil),
        keyed(pick=np.floor),
        keyed(pick=np.ceil),
        keyed(pick=njit(lambda x: x)),
        keyed(pick=njit(lambda x: x + 1.0)),
        keyed(pick=njit(fastmath=True)(lambda x: x)),
        keyed(pick=lambda x: x),
        before,
    ]
    assert len(set(other)) == len(other)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
        (np.array([1.0, 2.0]), np.array([1, 2])),
        (np.ones((2, 3)), np.ones((3, 2))),
        (np.arange(4.0).reshape(2, 2), np.asfortranarray(np.arange(4.0).reshape(2, 2))),
        (np.int64(1), np.int32(1)),
        (np.float64(1.0), 1.0),
        (np.datetime64(1, "s"), np.datetime64(1, "ms")),
        (True, 1),
        ((1, 2), (1, (2,))),
        (1 + 2j, 1 - 2j),
        (Point(1, 2), (1, 2)),
        (Point, namedtuple("Point", ("b", "a"))),  # noqa: PYI024
        (IntEnum("Color", {"RED": 1}), IntEnum("Color", {"RED": 2})),
        (IntEnum("Color", {"RED": 1}).RED, IntEnum("Color", {"RED": 2}).RED),
        (math, np),
        (np.exp, np.log),
        (np.sum, np.prod),
        (math.floor, math.ceil),
        (ValueError, TypeError),
        (np.float32, np.float64),
        (np.dtype("f4"), np.dtype("f8")),
        (njit(lambda x: x), njit(lambda x: -x)),
        ((njit(lambda x: x),), (njit(lambda x: -x),)),
    ],
)
def test_values_that_compile_to_other_code_have_other_texts(one: Any, two: Any) -> None:
    assert exact_text(one) != exact_text(two)
    assert exact_text(one) == exact_text(one)


@pytest.mark.parametrize(
    "value",
    [
        object(), [1.0], {1: 2.0}, {1.0}, np.array([object()]), type("Own", (), {}), iter(()),
        type("Own", (ValueError,), {}), "".join, ModuleType("own"), np.random.default_rng(1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_known_by_identity_alone_has_no_text(value: object) -> None:
    with pytest.raises(Unnameable):
        exact_text(value)
    text = "def main(x):\n    return helper(x)\ndef helper(x):\n    return x if REACHED else -x"
    if not isinstance(value, ModuleType):
        assert fingerprint(defined(text, REACHED=value)) == ""


def test_functions_of_one_name_are_told_apart_however_often_they_are_met() -> None:
    def maker(factor: float) -> Callable[[float], float]:
        return lambda x: x * factor

    one, two = maker(1.0), maker(2.0)
    text = "def main(x):\n    return a(x) + b(x) + c(x)"
    keys = {fingerprint(defined(text, a=one, b=two, c=last)) for last in (one, two)}
    assert len(keys) == 2


def test_bindings_are_part_of_the_key() -> None:
    main = defined(FLAGGED)
    other: FunctionType = defined("def stands_in(x):\n    return x", "stands_in")
    ways = [{}, {"EXITS": False}, {"EXITS": False, "weigh": other}, {"SIZE": 3.0}]
    assert len({fingerprint(main, way) for way in ways}) == len(ways)
    assert fingerprint(main, {"UNKNOWN": 1}) == fingerprint(main)


def test_a_copy_and_its_original_share_all_but_their_options() -> None:
    main = defined(BASE, h=ModuleType("h"), pick=math.floor)
    main.__globals__["h"].deep = defined(DEEP, "deep")
    copies = [rebuild(main), rebuild(rebuild(main)), rebuild(main, suffix="other")]
    assert len({exact_text(copy) for copy in copies}) == 1


def test_keys_are_equal_in_every_process() -> None:
    text = """
from collections import namedtuple
from enum import IntEnum
import math
import numpy as np
from mqd.strategy.code_cache import fingerprint
Point = namedtuple("Point", ("a", "b"))
Color = IntEnum("Color", "RED GREEN")
TABLE = np.arange(5.0)
START = Point(1.0, float("nan"))
def helper(x): return x in {"a", "b", "c", "d"}
def main(x): return Point(helper(x), Color.RED), TABLE[0], START, math.exp(x), np.sqrt(x)
print(fingerprint(main))
"""
    said = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, env=environment
        )
        said.add(done.stdout.strip())
    assert len(said) == 1
    assert len(said.pop()) == 64
