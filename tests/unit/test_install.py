"""The environment's installer: what it refuses, and when it has nothing to do."""

import importlib.util
import sys

import pytest

from tests.style import house

SPEC = importlib.util.spec_from_file_location("install", house.ROOT / "requirements/install.py")
install = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(install)


def test_a_python_that_is_too_old_gets_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    monkeypatch.setattr(sys, "argv", ["install.py", "demo"])
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer; .* is 3\.10\.2"):
        install.main()


def test_an_unknown_lock_gets_the_usage(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["install.py", "everything"])
    with pytest.raises(SystemExit, match="Usage"):
        install.main()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in for a checkout whose environment is this Python; pip only notes its words."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for lock in ("demo", "all"):
        (tmp_path / "requirements" / f"{lock}.txt").write_text(f"# {lock}\n")
    calls = []
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "HERE", tmp_path / "requirements")
    monkeypatch.setattr(install, "ensure_venv", lambda _: sys.executable)
    monkeypatch.setattr(install, "pip", lambda _, *words: calls.append(words))
    return tmp_path, calls


def test_packages_come_with_hashes_and_the_checkout_without_the_network(place):
    root, calls = place
    install.install(root / ".venv", "demo")
    packages, checkout = calls
    assert "--require-hashes" in packages
    assert str(root / "requirements" / "demo.txt") in packages
    assert {"--no-deps", "--no-index", "--no-build-isolation"} <= set(checkout)


def test_a_second_run_does_nothing_until_the_lock_changes(place):
    root, calls = place
    install.install(root / ".venv", "demo")
    install.install(root / ".venv", "demo")
    assert len(calls) == 2
    (root / "requirements" / "demo.txt").write_text("# newer\n")
    install.install(root / ".venv", "demo")
    assert len(calls) == 4


def test_the_whole_lock_covers_the_demo(place):
    root, calls = place
    install.install(root / ".venv", "all")
    install.install(root / ".venv", "demo")
    assert len(calls) == 2


def test_a_moved_checkout_is_linked_anew(place, monkeypatch):
    root, calls = place
    install.install(root / ".venv", "demo")
    moved = root.with_name(root.name + " moved")
    root.rename(moved)
    monkeypatch.setattr(install, "ROOT", moved)
    monkeypatch.setattr(install, "HERE", moved / "requirements")
    install.install(moved / ".venv", "demo")
    assert len(calls) == 4


def test_an_interpreter_that_is_not_there_does_not_run(tmp_path):
    assert install.runs(sys.executable)
    assert not install.runs(tmp_path / "python")
