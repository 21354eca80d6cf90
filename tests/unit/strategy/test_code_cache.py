"""Compiled code on disk, by processes that start anew: what is a hit, what never is.

Each program prints, for every rule, what it returns and how many of its entries were loaded and
how many compiled, counted by numba.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import float64

import mqd
from mqd.strategy import code_cache
from mqd.strategy.code_cache import compile_cached
from mqd.strategy.compiled import program
from mqd.strategy.strategy import Strategy

pytestmark = pytest.mark.slow
ROOT = Path(mqd.__file__).parents[1]
SHOW = """
import json
from mqd.strategy.compiled import program

def show(*classes):
    said = []
    for cls in classes:
        made = program(cls())
        value = made.call((2.0,), (0.0,))
        stats = [entry.stats for entry in made._code.entries.values()]
        hits = sum(sum(s.cache_hits.values()) for s in stats)
        misses = sum(sum(s.cache_misses.values()) for s in stats)
        said.append([value, hits, misses])
    print(json.dumps(said))
"""
STRATEGY = """
from mqd.strategy.strategy import Strategy
class Mine(Strategy):
    def decide(self, now, position):
        return now.close * 3.0 + position.weight
"""
HIT, MISS = [1, 0], [0, 1]


def run(text: str, cache: Path, *, stdin: bool = False, **options: Any) -> list[list[float]]:
    """Run a program in a new process over its own cache folder."""
    environment = {**os.environ, "MQD_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-"] if stdin else [sys.executable, "-c", text]
    done = subprocess.run(
        words, input=text if stdin else None, capture_output=True, text=True,
        env=environment, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    said: list[list[float]] = json.loads(done.stdout)
    return said


def show(*strategies: str) -> str:
    """Return a program that shows classes named ``module:Class``."""
    lines = [f"from {s.split(':')[0]} import {s.split(':')[1]}" for s in strategies]
    return "\n".join([SHOW, *lines, f"show({', '.join(s.split(':')[1] for s in strategies)})"])


FAR = "LEVEL = 10.0\nOTHER = 1.0\ndef scaled(x):\n    return x * {factor}\n"
NEAR = "import far\ndef scaled(x):\n    return far.scaled(x)\n"
USER = """
import near
import far
from mqd.strategy.strategy import Strategy
class ByHelper(Strategy):
    def decide(self, now, position):
        return near.scaled(now.close) + position.weight
class ByConstant(Strategy):
    def decide(self, now, position):
        return now.close + far.LEVEL + position.weight
class Alone(Strategy):
    def decide(self, now, position):
        return now.close + 0.25 + position.weight
"""


def test_an_edit_two_modules_away_is_seen_a_comment_is_not_and_a_revert_is_a_hit(
    tmp_path: Path,
) -> None:
    cache = tmp_path / "cache"
    text = show("user:ByHelper", "user:ByConstant", "user:Alone")

    def write(far: str, user: str = USER) -> None:
        for name, body in (("far", far), ("near", NEAR), ("user", user)):
            (tmp_path / f"{name}.py").write_text(body)

    before = FAR.format(factor="3.0")
    write(before)
    assert run(text, cache, cwd=tmp_path) == [[6.0, *MISS], [12.0, *MISS], [2.25, *MISS]]
    write(FAR.format(factor="300.0").replace("10.0", "20.0").replace("OTHER = 1.0", "OTHER = 2.0"))
    assert run(text, cache, cwd=tmp_path) == [[600.0, *MISS], [22.0, *MISS], [2.25, *HIT]]
    commented = USER.replace("return", "# why\n        return").replace(
        "import near", "\nimport near"
    )
    write("# a remark\n\n" + before.replace("return", "# and why\n    return"), commented)
    assert run(text, cache, cwd=tmp_path) == [[6.0, *HIT], [12.0, *HIT], [2.25, *HIT]]
    write(before)
    assert run(text, cache, cwd=tmp_path) == [[6.0, *HIT], [12.0, *HIT], [2.25, *HIT]]


TWINS = """
from mqd.strategy.strategy import Strategy
def called(f, x):
    return f(x)
def made(helper, inner):
    scope = {"__name__": "mine", "Strategy": Strategy, "helper": helper, "inner": inner}
    exec('''
def times(x):
    return x * helper
class Mine(Strategy):
    def decide(self, now, position):
        return times(now.close) + position.weight
def called(f, x):
    return f(x)
class Inner(Strategy):
    def decide(self, now, position):
        return called(lambda x: x * ''' + inner + ''', now.close) + position.weight
''', scope)
    return scope["Mine"], scope["Inner"]
"""


def test_two_rules_of_one_name_cached_apart_and_loaded_together_keep_their_code(
    tmp_path: Path,
) -> None:
    small, large = "*made(1.5, '2.5')", "*made(150.0, '250.0')"
    program = SHOW + TWINS
    assert run(f"{program}show({small})", tmp_path) == [[3.0, *MISS], [5.0, *MISS]]
    assert run(f"{program}show({large})", tmp_path) == [[300.0, *MISS], [500.0, *MISS]]
    both = [[3.0, *HIT], [5.0, *HIT], [300.0, *HIT], [500.0, *HIT]]
    assert run(f"{program}show({small}, {large})", tmp_path) == both
    turned = [*both[2:], *both[:2]]
    assert run(f"{program}show({large}, {small})", tmp_path) == turned


def test_a_rule_from_a_command_line_stdin_and_a_cell_is_kept_alike(tmp_path: Path) -> None:
    body = SHOW + STRATEGY + "show(Mine)"
    cell = f"scope = {{'__name__': '__main__'}}\nexec(compile({body!r}, '<cell 1>', 'exec'), scope)"
    assert run(body, tmp_path) == [[6.0, *MISS]]
    assert run(body, tmp_path) == [[6.0, *HIT]]
    assert run(body, tmp_path, stdin=True) == [[6.0, *HIT]]
    assert run(cell, tmp_path) == [[6.0, *HIT]]


def test_processes_at_once_share_one_folder(tmp_path: Path) -> None:
    program = SHOW + STRATEGY + "show(Mine)"
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: run(program, tmp_path), range(2)))
    assert [rows[0][0] for rows in said] == [6.0] * 2
    assert run(program, tmp_path) == [[6.0, *HIT]]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """An empty folder; calling the value forgets what this process holds, as a new one would."""
    monkeypatch.setenv("MQD_CACHE_DIR", str(tmp_path))

    def nothing_known() -> None:
        code_cache._entries.clear()
        code_cache._drop_oldest.cache_clear()
        code_cache._note.cache_clear()

    nothing_known()
    yield nothing_known
    nothing_known()


def entry_of(rule: Any, **scope: object) -> tuple[float, list[int]]:
    """Return what a rule says of 2.0, and how often its entry was loaded and compiled."""
    made = compile_cached("def entry(x):\n    return rule(x)", {"rule": rule, **scope}, (float64,))
    stats = made.stats
    return made(2.0), [sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]


def tripled(x: float) -> float:
    return x * 3.0


def damaged(content: bytes) -> list[bytes]:
    """Return a file's content cut short, with one bit changed in the code, and emptied."""
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return [content[:-1], content[: len(content) // 2], bytes(changed), b"", content[:20]]


@pytest.mark.parametrize("kind", range(5))
def test_damaged_files_are_compiled_again_and_replaced(
    tmp_path: Path, forget: Callable[[], None], kind: int
) -> None:
    assert entry_of(tripled) == (6.0, MISS)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    forget()
    assert entry_of(tripled) == (6.0, HIT)
    file.write_bytes(damaged(whole)[kind])
    forget()
    assert entry_of(tripled) == (6.0, MISS)
    assert len(file.read_bytes()) > len(whole) // 2
    forget()
    assert entry_of(tripled) == (6.0, HIT)


def test_a_whole_file_that_numba_cannot_use_is_replaced(
    tmp_path: Path, forget: Callable[[], None]
) -> None:
    entry_of(tripled)
    (file,) = tmp_path.iterdir()
    code_cache._write(file, b"not what numba wrote")
    forget()
    assert entry_of(tripled) == (6.0, MISS)
    forget()
    assert entry_of(tripled) == (6.0, HIT)


def test_a_file_that_another_user_owns_or_can_write_is_not_read(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_of(tripled)
    (file,) = tmp_path.iterdir()
    file.chmod(0o666)
    forget()
    assert entry_of(tripled) == (6.0, MISS)
    assert file.stat().st_mode & 0o777 == 0o600
    forget()
    assert entry_of(tripled) == (6.0, HIT)
    forget()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert entry_of(tripled) == (6.0, MISS)


def test_a_folder_that_cannot_be_written_costs_only_the_compile(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MQD_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert entry_of(tripled) == (6.0, MISS)
        forget()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_no_half_file(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert entry_of(tripled) == (6.0, MISS)
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_files_go_first_and_only_ours(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"mqd_{age:064x}.code" for age in range(5)]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, ns=(10**9 * age, 10**9 * age))
    notes = tmp_path / "mqd_notes.txt"
    notes.write_bytes(b"y" * 10_000)
    os.utime(notes, ns=(0, 0))
    monkeypatch.setattr(code_cache, "FILES_MAX", 4)
    entry_of(tripled)
    left = {file.name for file in tmp_path.iterdir()}
    assert left >= {notes.name, *names[2:]}
    assert not left & set(names[:2])
    assert len(left) == 5
    forget()
    monkeypatch.setattr(code_cache, "FILES_MAX", 100)
    monkeypatch.setattr(code_cache, "BYTES_MAX", 150)
    for name in left & set(names):
        (tmp_path / name).write_bytes(b"x" * 100)
    code_cache._drop_oldest(str(tmp_path))
    assert len([f for f in tmp_path.iterdir() if f != notes]) == 1


def test_a_loaded_file_counts_as_new(tmp_path: Path, forget: Callable[[], None]) -> None:
    entry_of(tripled)
    (file,) = tmp_path.iterdir()
    os.utime(file, ns=(0, 0))
    forget()
    entry_of(tripled)
    assert file.stat().st_mtime_ns > 0


def test_a_rule_that_returns_no_weight_is_not_kept(
    tmp_path: Path, forget: Callable[[], None]
) -> None:
    class Half(Strategy):
        def decide(self, now: Any, position: Any) -> Any:
            if now.close > position.weight:
                return 1.0
            return None

    made = program(Half())
    assert "does not return a weight on every path" in made.reason
    assert list(tmp_path.iterdir()) == []


def test_code_that_holds_addresses_of_this_process_is_not_kept(
    tmp_path: Path, forget: Callable[[], None]
) -> None:
    large = np.ones(2_000_000)

    def rule(x: float) -> float:
        return x + large[3]

    assert entry_of(rule) == (3.0, MISS)
    assert list(tmp_path.iterdir()) == []


def test_the_key_the_source_and_the_signature_are_in_the_name(
    tmp_path: Path, forget: Callable[[], None]
) -> None:
    scope = {"rule": tripled, "ADDED": 0.0}
    source = "def entry(x):\n    return rule(x) + ADDED"
    ways = [
        (source, scope, (float64,), ""),
        (source, scope, (float64,), "other"),
        (source.replace("+", "-"), scope, (float64,), ""),
        (source, scope, (float64[::1],), ""),
        (source, {**scope, "ADDED": 1.0}, (float64,), ""),
    ]
    for words in ways:
        compile_cached(*words)
    assert len(list(tmp_path.iterdir())) == len(ways)


def test_nothing_is_compiled_but_the_entry_of_a_new_process(tmp_path: Path) -> None:
    text = """
import sys, json
import numpy as np
from numba import float64
from mqd.strategy.code_cache import compile_cached, rebuild
def rule(x):
    values = np.sort(np.array([x, 3.0, 1.0]))
    if values[0] > 5.0:
        raise ValueError("above", x)
    return values[1] + len([v for v in values])
helper = rebuild(rule)
entry = compile_cached("def entry(x):\\n    return rule(x)", {"rule": helper}, (float64,))
said = [[entry(2.0), len(helper.overloads), "numba.np.arraymath" in sys.modules]]
try:
    entry(float("nan"))
except ValueError as error:
    said.append([str(error)])
print(json.dumps(said))
"""
    assert run(text, tmp_path) == [[5.0, 0, True]]
    assert run(text, tmp_path) == [[5.0, 0, False]]
