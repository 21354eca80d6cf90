"""What the README prints is what its examples print."""

import re

import pytest

from tests.style import house

BLOCKS = re.findall(r"```(python)?\n(.*?)```", house.read("README.md"), re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python" and "import mqd" in text]
WRONG = next(text for kind, text in BLOCKS if kind == "python" and "forgets_open_orders" in text)


def printed_after(program):
    """Return the lines of the block that follows a program, without the cut marks."""
    texts = [text for _, text in BLOCKS]
    lines = texts[texts.index(program) + 1].splitlines()
    return [line.strip() for line in lines if line.strip() not in {"", "…"}]


def squeezed(text):
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("program", PROGRAMS, ids=["backtest", "risk rule"])
def test_the_example_prints_what_the_readme_shows(program, capsys, tmp_path):
    path = tmp_path / "example.py"
    path.write_text(program, encoding="utf-8")
    exec(compile(program, str(path), "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    shown = printed_after(program)
    assert len(shown) >= 6
    assert [line for line in shown if line not in printed] == []


def test_the_wrong_rule_is_caught_as_the_readme_shows(capsys, tmp_path):
    path = tmp_path / "example.py"
    program = f"import mqd\n\n{WRONG}"
    path.write_text(program, encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        exec(compile(program, str(path), "exec"), {"__name__": "example"})
    capsys.readouterr()
    told = squeezed(str(caught.value))
    before_the_cut, after_the_cut = squeezed(" ".join(printed_after(WRONG))).split(" steps = ")
    assert before_the_cut in told
    assert f"steps = {after_the_cut}".strip() in told
