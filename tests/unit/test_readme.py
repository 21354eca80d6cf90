"""What the README shows is what its programs and commands print."""

import re
import shlex

import pytest

from mqd.cli import main as cli
from tests.style import house

BLOCKS = re.findall(r"```(\w*)\n(.*?)```", house.read("README.md"), re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python" and "import mqd" in text]
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
SCREENS = [text for kind, text in BLOCKS if kind == "console"]
LIMITS = next(text for kind, text in BLOCKS if kind == "toml")
WRONG = next(text for kind, text in BLOCKS if kind == "python" and "forgets_open_orders" in text)
MINE = next(text for text in PROGRAMS if "class Pullback" in text)
PRINTING = [text for text in PROGRAMS if text is not MINE]
CUT = "…"


def shown_after(block):
    """Return the lines of the block that follows one, without the cut marks."""
    texts = [text for _, text in BLOCKS]
    lines = texts[texts.index(block) + 1].splitlines()
    return [squeezed(line) for line in lines if line.strip() not in {"", CUT}]


def squeezed(text):
    return re.sub(r"\s+", " ", text).strip()


def absent(block, printed):
    """Return the lines that the README shows after a block and that were not printed."""
    lines = {squeezed(line) for line in printed.splitlines()}
    shown = shown_after(block)
    assert len(shown) >= 3
    return [line for line in shown if line not in lines]


@pytest.mark.parametrize("program", PRINTING, ids=lambda text: re.findall(r"\w{8,}", text)[-1])
def test_the_program_prints_what_the_readme_shows(program, capsys, tmp_path):
    path = tmp_path / "example.py"
    path.write_text(program, encoding="utf-8")
    exec(compile(program, str(path), "exec"), {"__name__": "example"})
    assert absent(program, capsys.readouterr().out) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: shlex.split(text)[-2].strip("-"))
def test_the_command_prints_what_the_readme_shows(command, capsys, tmp_path):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "limits.toml").write_text(LIMITS, encoding="utf-8")
    folder = tmp_path / "runs"
    placed = command.replace("\\\n", " ").replace("runs/", f"{folder}/")
    for name in ("mine.py", "limits.toml"):
        placed = placed.replace(f" {name}", f" {tmp_path / name}")
    program, *words = shlex.split(placed)
    assert program == "mqd"
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    told = f"{printed.out}\n{printed.err}".replace(f"{folder}/", "runs/")
    assert absent(command, told) == []


def test_the_wrong_rule_is_caught_as_the_readme_shows(capsys, tmp_path):
    path = tmp_path / "example.py"
    program = f"import mqd\n\n{WRONG}"
    path.write_text(program, encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        exec(compile(program, str(path), "exec"), {"__name__": "example"})
    capsys.readouterr()
    told = squeezed(str(caught.value))
    before_the_cut, after_the_cut = " ".join(shown_after(WRONG)).split(" steps = ")
    assert before_the_cut in told
    assert f"steps = {after_the_cut}".strip() in told


def test_the_sweep_has_all_that_the_readme_lists():
    listed = next(text for kind, text in BLOCKS if "sweep.table" in text and kind == "python")
    from mqd import Sweep

    names = {a or b for a, b in re.findall(r"sweep\.(\w+)|(\w+)\(\)", listed)}
    assert len(names) > 8
    assert names <= {*dir(Sweep)}


def test_the_result_has_all_that_the_readme_lists():
    listed = next(text for kind, text in BLOCKS if "result.metrics" in text and kind == "python")
    from mqd import Result

    known = {*dir(Result), *Result.__dataclass_fields__}
    assert {*re.findall(r"result\.(\w+)", listed)} <= known


def test_the_gates_shown_are_those_of_promotion():
    from mqd.promotion.gates import BOUNDS, MANDATORY, MODEL

    passed, failed = (text for text in SCREENS if "mqd promote" in text)
    lines = re.findall(r"^(ok|FAIL) +(\w+): (.*)$", passed + failed, re.MULTILINE)
    assert {name for _, name, _ in lines} == set(BOUNDS) - MODEL  # sma_cross asks none
    assert set(re.findall(r"^ok +(\w+):", passed, re.MULTILINE)) >= MANDATORY
    for word, name, sentence in lines:
        bound = BOUNDS[name]
        assert sentence.startswith(f"{bound.about}: ")
        found = re.search(r": ([\d.]+), it must be (\S+ \d+(?:\.\d+)?)", sentence)
        if found:
            assert found[2] == str(bound)
            assert bound.holds(float(found[1])) is (word == "ok")


def test_every_command_is_in_the_table():
    table = house.read("README.md").split("## The command line")[1].split("STRATEGY is")[0]
    told = {name for name in cli.COMMANDS if f"`mqd {name}" in table}
    assert told == set(cli.COMMANDS)


def test_the_faults_counted_are_those_of_the_catalogue():
    from mqd.venue.fault_catalogue import CATALOGUE

    assert f"each of {len(CATALOGUE)} faults" in house.read("README.md")
