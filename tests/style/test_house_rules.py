"""The house rules hold in every file, and each rule catches a violation planted for it."""

import pytest

from tests.style import house
from tests.style.house import Rule

LONG_FUNCTION = "def f(x):\n" + "    x += 1\n" * 80
HOST = "pypi" + ".org"
HOME = "/ro" + "ot/project"
LATER = "# TO" + "DO: finish"

PICKLES = r"^(pickle|cPickle|dill|cloudpickle|marshal|shelve)(\.|$)"
PEERS = r"^(backtesting|backtrader|nautilus_trader|cvxportfolio|beancount)(\.|$)"
OUTSIDE = r"^(research|live|notebooks|tests|bench)(\.|$)"
MACHINES = r"(?<![\w.~])/(root|home|Users|work)/\w+|\.py[e]nv"
REGISTRIES = r"(?i)(pypi\.(org|python)|files\.python[h]osted|--(extra-)?index-[u]rl|find-[l]inks)"
UNFINISHED = r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b"
NO_DOCSTRING = (
    '"""A module."""\n\n\nclass A:\n    """A class."""\n\n    def f(self):\n        pass\n'
)

RULES = [
    Rule("columns", house.is_code, house.columns, "mqd/x.py", "x = 1  # " + "a" * 100),
    Rule("module lines", house.is_python, house.module_lines, "mqd/x.py", "x = 1\n" * 401),
    Rule("function lines", house.is_python, house.function_lines, "mqd/x.py", LONG_FUNCTION),
    Rule("public docstrings", house.is_library, house.public_docstrings, "mqd/x.py", NO_DOCSTRING),
    Rule(
        "hidden clock",
        house.reads_no_clock,
        house.hidden_inputs,
        "mqd/x.py",
        "from datetime import datetime\nx = datetime.now()\n",
    ),
    Rule(
        "hidden dice",
        house.reads_no_clock,
        house.hidden_inputs,
        "mqd/x.py",
        "import numpy as np\nx = np.random.rand(3)\n",
    ),
    Rule(
        "unseeded generator",
        house.reads_no_clock,
        house.hidden_inputs,
        "mqd/x.py",
        "import numpy as np\nx = np.random.default_rng()\n",
    ),
    Rule(
        "dice beside the library",
        house.is_beside_library,
        house.hidden_dice,
        "tests/x.py",
        "import random\nx = random.random()\n",
    ),
    Rule(
        "exact ledger",
        house.is_ledger,
        house.calls({"float"}, "keep integers or Decimal"),
        "mqd/orders/x.py",
        "x = float(1)\n",
    ),
    Rule(
        "no print",
        house.is_quiet_library,
        house.calls({"print", "pprint"}, "log or return it"),
        "mqd/x.py",
        "print(1)\n",
    ),
    Rule(
        "no pickle",
        house.is_library,
        house.imports(PICKLES, "JSON, parquet or skops"),
        "mqd/x.py",
        "import pickle\n",
    ),
    Rule(
        "no pickled frames",
        house.is_library,
        house.calls({"read_pickle", "to_pickle"}, "parquet"),
        "mqd/x.py",
        "pd.read_pickle('a')\n",
    ),
    Rule(
        "only the risk manager approves",
        house.cannot_approve,
        house.calls({"approve"}, "only mqd/risk/manager.py approves"),
        "mqd/desk.py",
        "approve(order)\n",
    ),
    Rule(
        "nobody assembles an approval",
        house.cannot_seal,
        house.calls({"Approved"}, "only mqd/core/verdict.py makes one"),
        "mqd/desk.py",
        "Approved(order, (), seal)\n",
    ),
    Rule(
        "units in names",
        house.names_units,
        house.pattern(r"(?i)\b\w*(pct|percent(?!ile))\w*\b", "say _frac or _bps"),
        "mqd/x.py",
        "fee_percent = 1\n",
    ),
    Rule(
        "nothing left for later",
        house.is_prose_or_code,
        house.pattern(UNFINISHED, "do it, or file it"),
        "mqd/x.py",
        LATER,
    ),
    Rule(
        "no swallowed error",
        house.is_python,
        house.swallowed,
        "mqd/x.py",
        "try:\n    f()\nexcept Exception:\n    pass\n",
    ),
    Rule(
        "no bare except",
        house.is_python,
        house.swallowed,
        "mqd/x.py",
        "try:\n    f()\nexcept:\n    g()\n",
    ),
    Rule(
        "total matches",
        house.is_library,
        house.open_matches,
        "mqd/x.py",
        "match side:\n    case 1:\n        f()\n",
    ),
    Rule(
        "no machine of ours",
        house.is_text,
        house.pattern(MACHINES, "a path relative to the root"),
        "README.md",
        HOME,
    ),
    Rule(
        "no registry host",
        house.names_no_registry,
        house.pattern(REGISTRIES, "the registry is the user's setting"),
        "Makefile",
        HOST,
    ),
    Rule(
        "models only listen",
        house.hears_no_model,
        house.imports(r"^mqd\.ml(\.|$)", "take a Predictor"),
        "mqd/desk.py",
        "from mqd.ml import registry\n",
    ),
    Rule(
        "studies are no library",
        house.is_library,
        house.imports(OUTSIDE, "move it into mqd"),
        "mqd/x.py",
        "import research.study\n",
    ),
    Rule(
        "no copyleft peer",
        house.imports_no_peer,
        house.imports(PEERS, "peers run in environments of their own"),
        "mqd/x.py",
        "import backtrader\n",
    ),
    Rule(
        "tests assert",
        house.is_test,
        house.tests_assert,
        "tests/test_x.py",
        "def test_a():\n    f()\n",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_house_keeps_the_rule(rule):
    paths = [path for path in house.tracked() if rule.applies(path)]
    found = [finding for path in paths for finding in rule.findings(path, house.read(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_rule_catches_a_planted_violation(rule):
    assert rule.applies(rule.planted_path)
    assert rule.findings(rule.planted_path, rule.planted_text)


GOOD = '''"""A module."""


def twice(px: int) -> int:
    """Return twice the price in ticks."""
    match px:
        case 0:
            return 0
        case _:
            return 2 * px


def _test_twice():
    assert twice(2) == 4
'''


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_rule_leaves_good_code_alone(rule):
    assert not rule.findings("mqd/orders/x.py", GOOD)
