"""The house rules as functions: ``rule(path, text) -> findings``; each names its replacement."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, FUNCTION_LINES, MODULE_LINES, TEST_LINES = 100, 70, 400, 600
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Rule(NamedTuple):
    """A house rule, the files it holds for, and a text that breaks it (for its self-test)."""

    name: str
    applies: Callable[[str], bool]
    findings: Callable[[str, str], list[str]]
    planted_path: str
    planted_text: str


@cache
def tracked() -> list[str]:
    """Return the paths that git tracks or would track, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(path for path in listed.split("\0") if path and (ROOT / path).is_file())


@cache
def read(path: str) -> str:
    """Return the text of a tracked file, empty for a binary one."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a module; rules share it."""
    return ast.parse(text)


def is_python(path: str) -> bool:
    """Any Python source."""
    return path.endswith(".py")


def is_library(path: str) -> bool:
    """Python source of the package."""
    return path.startswith("mqd/") and is_python(path)


def is_quiet_library(path: str) -> bool:
    """Library code that must not print: the command line, the console log and test helpers do."""
    return is_library(path) and not path.startswith(("mqd/cli/", "mqd/logs.py", "mqd/testing/"))


def is_ledger(path: str) -> bool:
    """Where money and quantities are exact."""
    return path.startswith(("mqd/orders/", "mqd/positions/")) or path == "mqd/accounting.py"


def is_code(path: str) -> bool:
    """Code and settings; in prose, tables and planted texts a line is as long as it must be."""
    return path.endswith((".py", ".yaml")) or path in {"Makefile", ".ci/run", "pyproject.toml"}


def reads_no_clock(path: str) -> bool:
    """All of the library but the clock itself."""
    return is_library(path) and path != "mqd/core/clock.py"


def cannot_approve(path: str) -> bool:
    """All of the library but the risk manager and the type itself."""
    return is_library(path) and path not in {"mqd/risk/manager.py", "mqd/core/verdict.py"}


def cannot_seal(path: str) -> bool:
    """All of the library but the module that makes approvals."""
    return is_library(path) and path != "mqd/core/verdict.py"


def hears_no_model(path: str) -> bool:
    """All of the library but what may import ``mqd.ml``."""
    return is_library(path) and not path.startswith(("mqd/ml/", "mqd/console/", "mqd/cli/"))


def imports_no_peer(path: str) -> bool:
    """All code but the program that runs in the peer's own environment."""
    return is_python(path) and path != "bench/peer_backtesting.py"


def names_no_registry(path: str) -> bool:
    """All text."""
    return is_text(path)


def names_units(path: str) -> bool:
    """Where names of quantities are made; a venue's own words stand in one file."""
    if path == "mqd/adapters/alpaca/wire.py":
        return False
    return is_library(path) or path.startswith(("bench/", "live/"))


def is_test(path: str) -> bool:
    """A file that pytest collects."""
    return path.startswith("tests/") and Path(path).name.startswith("test_")


def is_beside_library(path: str) -> bool:
    """Tests and programs beside the library: they may read clocks, but not throw dice."""
    return is_python(path) and not is_library(path)


def is_text(path: str) -> bool:
    """Anything a person wrote, except the texts of licences and the data."""
    return is_prose_or_code(path) or path.endswith((".txt", ".in", ".sh", ".service", ".csv"))


def is_prose_or_code(path: str) -> bool:
    """Text that people write; locks and data are left out."""
    return path.endswith((".py", ".md", ".toml", ".cfg", ".yaml", ".html", ".ipynb")) or path in {
        "Makefile",
        ".ci/run",
    }


def columns(path: str, text: str) -> list[str]:
    """At most 100 columns; table rows of docstrings are exempt."""
    return [
        f"{path}:{number}: {len(line)} columns; at most {COLUMNS}"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > COLUMNS and not line.lstrip().startswith("|") and "noqa: E501" not in line
    ]


def module_lines(path: str, text: str) -> list[str]:
    """At most 400 lines a module; 600 a test file, which is a list of claims."""
    n, most = len(text.splitlines()), TEST_LINES if is_test(path) else MODULE_LINES
    return [f"{path}: {n} lines; at most {most}: split it"] if n > most else []


def functions(text: str) -> Iterator[Function]:
    """Yield every function of a module, nested ones too."""
    for node in ast.walk(parsed(text)):
        if isinstance(node, Function):
            yield node


def function_lines(path: str, text: str) -> list[str]:
    """At most 70 lines of code a function; its docstring, comments and blank lines are free."""
    lines = text.splitlines()
    found = []
    for function in functions(text):
        first = function.body[0]
        docstring = ast.get_docstring(function, clean=False) is not None
        skip = range(first.lineno, (first.end_lineno or first.lineno) + 1) if docstring else ()
        body = range(function.lineno, (function.end_lineno or function.lineno) + 1)
        code = [lines[i - 1].strip() for i in body if i not in skip]
        n = sum(1 for line in code if line and not line.startswith("#"))
        if n > FUNCTION_LINES:
            found.append(f"{path}:{function.lineno}: {function.name} has {n} code lines")
    return found


def public_docstrings(path: str, text: str) -> list[str]:
    """Every public module, class, function and method of the library says what it is."""
    tree = parsed(text)
    found = [] if ast.get_docstring(tree) else [f"{path}:1: the module has no docstring"]
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    while scopes:
        for node in scopes.pop().body:
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            inherited = any("overrid" in ast.unparse(mark) for mark in node.decorator_list)
            overload = any("overload" in ast.unparse(mark) for mark in node.decorator_list)
            if not (ast.get_docstring(node) or inherited or overload):
                found.append(f"{path}:{node.lineno}: {node.name} has no docstring")
            if isinstance(node, ast.ClassDef):
                scopes.append(node)
    return found


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for a chain of attributes of a name, else an empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def imported(text: str) -> list[tuple[int, str]]:
    """Return ``(line, module or module.name)`` of each import, nested ones too."""
    found = []
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


CLOCKS = re.compile(
    r"^(time\.(time|monotonic|perf_counter|process_time|localtime|gmtime|sleep)(_ns)?"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)|(pd|pandas)\.Timestamp\.(now|today|utcnow)"
    r"|(np|numpy)\.datetime64\.now)$"
)
DICE = re.compile(
    r"^(random|secrets|uuid|(np|numpy)\.random)\.(?!Random$|Generator|SeedSequence|default_rng)"
)


def hidden_dice(path: str, text: str) -> list[str]:
    """No hidden dice: chance comes from a seed, such as ``random.Random(seed)``."""
    return [f for f in hidden_inputs(path, text) if "a seed" in f and "imports" not in f]


def hidden_inputs(path: str, text: str) -> list[str]:
    """No hidden clock and no hidden dice: time comes from a clock, chance from a seed."""
    found = []
    for node in ast.walk(parsed(text)):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        line = getattr(node, "lineno", 0)
        if CLOCKS.match(name):
            found.append(f"{path}:{line}: {name}; take a Clock (mqd/core/clock.py)")
        if DICE.match(name):
            found.append(f"{path}:{line}: {name}; take a seed: numpy.random.default_rng(seed)")
        unseeded = isinstance(node, ast.Call) and dotted(node.func).endswith(
            ("default_rng", "random.Random")
        )
        if unseeded and not (node.args or node.keywords):  # type: ignore[attr-defined]
            found.append(f"{path}:{line}: a generator without a seed; pass a seed")
    for line, name in imported(text):
        if CLOCKS.match(name):
            found.append(f"{path}:{line}: imports {name}; take a Clock (mqd/core/clock.py)")
        if re.match(r"^(random|secrets|uuid)(\.|$)", name):
            found.append(f"{path}:{line}: imports {name}; take a seed: numpy.random.default_rng")
    return found


def calls(names: set[str], instead: str) -> Callable[[str, str], list[str]]:
    """Make a rule that bans calls of these names."""

    def findings(path: str, text: str) -> list[str]:
        return [
            f"{path}:{node.lineno}: {dotted(node.func)}(; {instead}"
            for node in ast.walk(parsed(text))
            if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in names
        ]

    return findings


def imports(pattern: str, instead: str) -> Callable[[str, str], list[str]]:
    """Make a rule that bans imports that match ``pattern``."""

    def findings(path: str, text: str) -> list[str]:
        return [
            f"{path}:{line}: imports {name}; {instead}"
            for line, name in imported(text)
            if re.match(pattern, name)
        ]

    return findings


def pattern(expression: str, instead: str) -> Callable[[str, str], list[str]]:
    """Make a rule that bans a regular expression in any text."""
    wanted = re.compile(expression)

    def findings(path: str, text: str) -> list[str]:
        return [
            f"{path}:{number}: {match.group(0)!r}; {instead}"
            for number, line in enumerate(text.splitlines(), 1)
            for match in wanted.finditer(line)
        ]

    return findings


def swallowed(path: str, text: str) -> list[str]:
    """No bare ``except``, and no broad one that does nothing."""
    found = []
    for node in ast.walk(parsed(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or dotted(node.type) in {"Exception", "BaseException"}
        idle = all(isinstance(part, ast.Pass | ast.Continue) for part in node.body)
        if node.type is None or (broad and idle):
            found.append(f"{path}:{node.lineno}: swallows every error; name the one you expect")
    return found


def open_matches(path: str, text: str) -> list[str]:
    """Every ``match`` ends in a case for what nobody expects (``assert_never`` for unions)."""
    found = []
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Match):
            last = node.cases[-1]
            total = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            if not total or last.guard is not None:
                found.append(f"{path}:{node.lineno}: match without a last `case _`; assert_never")
    return found


def asserts(node: ast.AST, local: dict[str, Function], seen: frozenset[str]) -> bool:
    """Return whether some path of a function can fail on its own claim."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = dotted(part.func).split(".")[-1]
            if name in {"raises", "warns", "fail", "run_state_machine_as_test"}:
                return True
            if name.lstrip("_").startswith(("assert", "check", "verify")):
                return True
            if name in local and name not in seen and asserts(local[name], local, seen | {name}):
                return True
    return False


def tests_assert(path: str, text: str) -> list[str]:
    """Each test asserts something: a test that cannot fail proves nothing."""
    local = {function.name: function for function in functions(text)}
    return [
        f"{path}:{function.lineno}: {function.name} asserts nothing"
        for name, function in local.items()
        if name.startswith("test_") and not asserts(function, local, frozenset({name}))
    ]
