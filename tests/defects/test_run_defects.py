"""The runner of planted defects tells a caught defect from a missed and from a broken one."""

import pytest

from tests.defects import run_defects

LIBRARY = '"""A library."""\n\n\ndef twice(x):\n    return 2 * x\n'
TESTS = "from mqd.lib import twice\n\n\ndef test_twice():\n    assert twice(3) == 6\n"
CAUGHT = ("caught", "return 2 * x", "return 3 * x")
MISSED = ("missed", '"""A library."""', '"""Another library."""')
TWICE = ("twice", "x", "y")
NO_PYTHON = ("no-python", "return 2 * x", "return 2 *")
NO_IMPORT = ("no-import", "def twice", "def thrice")


@pytest.fixture
def checkout(tmp_path):
    """Make a checkout with one function, one test and planted defects of one's choice."""
    for folder in ("mqd", "tests/defects"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mqd/__init__.py").write_text("")
    (tmp_path / "mqd/lib.py").write_text(LIBRARY)
    (tmp_path / "tests/test_lib.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")

    def write(*defects):
        text = "".join(
            f"[[defect]]\nname = '{name}'\nfile = 'mqd/lib.py'\nfind = '''{find}'''\n"
            f"replace = '''{replace}'''\ntests = ['tests/test_lib.py::test_twice']\n"
            for name, find, replace in defects
        )
        (tmp_path / "tests/defects/part.toml").write_text(text)
        return tmp_path

    return write


def test_all_caught_is_success(checkout, capsys):
    assert run_defects.main(checkout(CAUGHT)) == 0
    assert capsys.readouterr().out.endswith("1 caught, 0 missed\n")


def test_missed_and_broken_defects_fail(checkout, capsys):
    root = checkout(CAUGHT, MISSED, TWICE, NO_PYTHON, NO_IMPORT)
    assert run_defects.main(root) == 1
    printed = capsys.readouterr().out
    verdicts = {line.split()[1]: line.split()[0] for line in printed.splitlines()[:-1]}
    assert verdicts == {
        "caught": "caught", "missed": "missed", "twice": "broken", "no-python": "broken",
        "no-import": "broken",
    }  # fmt: skip
    assert printed.endswith("1 caught, 1 missed, 3 broken\n")
    assert (root / "mqd/lib.py").read_text() == LIBRARY


def test_a_test_that_fails_anyway_proves_nothing(checkout, capsys):
    root = checkout(CAUGHT)
    (root / "tests/test_lib.py").write_text(TESTS.replace("== 6", "== 7"))
    assert run_defects.main(root) == 1
    assert "fail without any defect" in capsys.readouterr().out


def test_a_word_chooses_defects(checkout, capsys):
    root = checkout(CAUGHT, MISSED)
    assert run_defects.main(root, "caug") == 0
    assert "missed  missed" not in capsys.readouterr().out
    assert run_defects.main(root, "nothing-like-it") == 1
