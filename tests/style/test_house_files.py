"""What stands where: READMEs, locks, the error tree, test names, planted defects."""

import inspect
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from mqd import errors
from tests.style import house

FOLDERS = ["mqd", "research", "live", "notebooks", "datasets", "tests", "requirements", "bench"]
LOCKS = sorted((house.ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("folder", [*FOLDERS[1:], "tests/defects"])
def test_every_top_level_folder_says_what_belongs_there(folder):
    assert len((house.ROOT / folder / "README.md").read_text(encoding="utf-8")) > 100


def test_no_top_level_folder_is_unnamed():
    tops = {path.split("/")[0] for path in house.tracked() if "/" in path}
    assert tops - {".ci"} <= set(FOLDERS)


def test_the_drawn_error_tree_is_the_real_one():
    drawn, stack = [], []
    for line in inspect.getdoc(errors).splitlines():
        match = re.match(r"^ {4}([ │├└─]*)(\w+)$", line)
        if match and inspect.isclass(getattr(errors, match[2], None)):
            depth = len(match[1]) // 4
            stack[depth:] = [match[2]]
            drawn.append((match[2], stack[depth - 1] if depth else "Exception"))
    real = [
        (name, value.__base__.__name__)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    ]
    assert len(real) > 20
    assert sorted(drawn) == sorted(real)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_requirement_is_pinned_and_hashed(lock):
    assert unhashed(lock.read_text(encoding="utf-8")) == []


def test_an_unhashed_requirement_is_noticed():
    hashed = "a==1 \\\n    --hash=sha256:" + "0" * 64 + "\n"
    assert unhashed(hashed) == []
    assert unhashed(hashed + "b==2\n") == ["b==2"]
    assert unhashed("c>=3 \\\n    --hash=sha256:" + "0" * 64) == ["c>=3"]


def unhashed(text: str) -> list[str]:
    """Return the requirements of a lock that lack an exact version or a hash."""
    entries = text.replace("\\\n", " ").splitlines()
    exact = re.compile(r"^[\w.\-\[\]]+==\S+( ;.*?)?\s+--hash=sha256:[0-9a-f]{64}")
    return [entry.split()[0] for entry in entries if entry.strip() and not exact.match(entry)]


def test_the_demo_lock_is_part_of_the_whole_lock():
    demo, whole = (
        set(re.findall(r"^[\w.\-]+==\S+", house.read(f"requirements/{name}.txt"), re.MULTILINE))
        for name in ("demo", "all")
    )
    assert len(demo) > 50
    assert demo <= whole


def test_test_files_have_unique_names():
    names = Counter(Path(path).name for path in house.tracked() if house.is_test(path))
    assert names
    assert [name for name, n in names.items() if n > 1] == []


DEFECT_FILES = sorted((house.ROOT / "tests/defects").glob("*.toml"))
DEFECTS = [
    (file.stem, defect)
    for file in DEFECT_FILES
    for defect in tomllib.loads(file.read_text(encoding="utf-8"))["defect"]
]


def _defect_id(value):
    return value if isinstance(value, str) else value["name"]


@pytest.mark.parametrize(("part", "defect"), DEFECTS, ids=_defect_id)
def test_the_planted_defect_can_be_planted(part, defect):
    assert set(defect) == {"name", "file", "find", "replace", "tests"}, part
    source = (house.ROOT / defect["file"]).read_text(encoding="utf-8")
    assert source.count(defect["find"]) == 1
    assert defect["find"] != defect["replace"]
    assert defect["tests"]
    for test in defect["tests"]:
        file, *names = test.split("::")
        text = (house.ROOT / file).read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf"\b(def|class) {name.split('[')[0]}\b|\b{name} = ", text), test


def test_there_are_enough_planted_defects_with_names_of_their_own():
    names = Counter(defect["name"] for _, defect in DEFECTS)
    assert [name for name, n in names.items() if n > 1] == []
    assert len(names) >= 25
