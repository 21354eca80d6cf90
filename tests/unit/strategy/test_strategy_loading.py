"""Names to classes, texts to values, and pickles of classes that came from a file."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import mqd
from mqd.errors import ParameterOutOfRange, StrategyError, UnknownParameter, UnknownStrategy
from mqd.strategy.library import NAMES
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.loading import parameters_from_text, resolve
from mqd.strategy.strategy import Strategy, param

TEXT = """
from beside import WEIGHT
from mqd.strategy.strategy import Strategy, param

class Mine(Strategy):
    n: int = param(3, low=1)

    def decide(self, now, position):
        return WEIGHT

class Other(Strategy):
    def decide(self, now, position):
        return 0.0

NOT_ONE = 3
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("WEIGHT = 0.5\n")
    (tmp_path / "mine.py").write_text(TEXT)
    return tmp_path / "mine.py"


@pytest.mark.parametrize("name", NAMES)
def test_every_library_name_is_a_strategy(name: str) -> None:
    found = resolve(name)
    assert issubclass(found, Strategy)
    assert found().kind in {"decide", "allocate"}
    assert found.__doc__


def test_a_module_and_a_path_name_a_class(file: Path) -> None:
    assert resolve("mqd.strategy.library.sma_cross:SmaCross") is SmaCross
    mine = resolve(f"{file}:Mine")
    assert mine(n=4).parameters == {"n": 4}
    assert resolve(f"{file}:Mine") is mine


def test_a_relative_path_is_found_from_the_working_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert resolve("mine.py:Mine").__name__ == "Mine"


def test_a_changed_file_is_read_anew(file: Path) -> None:
    before = resolve(f"{file}:Mine")
    file.write_text(TEXT.replace("param(3", "param(5"))
    assert resolve(f"{file}:Mine")().parameters == {"n": 5}
    assert before().parameters == {"n": 3}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sma_crss", "Did you mean 'sma_cross'"),
        ("", "Known: bollinger_reversion"),
        ("sma_cross:", "library name, module:Class or path.py:Class"),
        ("no.such.module:Rule", r"no module no.*Write a library name"),
        ("mqd.strategy.library.sma_cross:SmaCros", "Did you mean '.*:SmaCross'"),
        ("mqd.strategy.strategy:Strategy", "not a strategy"),
        ("mqd.errors:MqdError", "MqdError is not a strategy"),
        ("nowhere.py:Rule", "no file nowhere.py"),
    ],
)
def test_an_unknown_name_says_what_is_known(name: str, said: str) -> None:
    with pytest.raises(UnknownStrategy, match=said):
        resolve(name)


def test_a_missing_class_of_a_file_names_the_nearest(file: Path) -> None:
    with pytest.raises(UnknownStrategy, match=r"Did you mean '.*mine.py:Mine'"):
        resolve(f"{file}:Mina")
    with pytest.raises(UnknownStrategy, match="NOT_ONE is not a strategy"):
        resolve(f"{file}:NOT_ONE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import nono\n", "nono"),
    ],
)
def test_a_file_that_fails_is_named_with_its_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(StrategyError, match=said) as caught:
        resolve(f"{path}:Rule")
    assert "bad.py" in str(caught.value)
    assert str(tmp_path) not in sys.path


def test_a_class_from_a_file_survives_pickling_into_another_process(file: Path) -> None:
    strategy = resolve(f"{file}:Mine")(n=9)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    code = f"import pickle; print(pickle.loads({pickle.dumps(strategy)!r}))"
    root = Path(mqd.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "Mine(n=9)"


def test_texts_become_values_of_the_declared_types() -> None:
    class Typed(Strategy):
        n: int = 1
        x: float = 1.0
        flag: bool = False
        word: str = param("a", choices=["a", "b"])

    texts = {"n": "20", "x": "2", "flag": "true", "word": "b", "stop_loss_frac": "0.1"}
    values = parameters_from_text(Typed, texts)
    assert values == {"n": 20, "x": 2.0, "flag": True, "word": "b", "stop_loss_frac": 0.1}
    assert [type(v) for v in values.values()] == [int, float, bool, str, float]
    assert parameters_from_text(Typed, {"flag": "no"}) == {"flag": False}
    assert parameters_from_text(Typed, {"x": "1e-3", "n": " 7 "}) == {"x": 0.001, "n": 7}


@pytest.mark.parametrize(
    ("cls", "name", "text", "said"),
    [
        (SmaCross, "fast", "20.5", "whole number"),
        (SmaCross, "fast", "", "whole number"),
        (SmaCross, "fast", "1", r"\[2, 100\]"),
        (RsiReversion, "buy_below", "nan", "finite"),
        (RsiReversion, "buy_below", "low", "finite"),
    ],
)
def test_a_text_that_is_no_value_is_refused(
    cls: type[Strategy], name: str, text: str, said: str
) -> None:
    with pytest.raises(ParameterOutOfRange, match=said):
        parameters_from_text(cls, {name: text})


def test_an_unknown_name_of_a_text_is_refused() -> None:
    with pytest.raises(UnknownParameter, match="Did you mean 'slow'"):
        parameters_from_text(SmaCross, {"slwo": "3"})
