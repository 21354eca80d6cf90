"""A tree can be found again only when git says that nothing in it has changed."""

import shutil
import subprocess

import pytest

from mqd.live.tree import changes_of

GIT = shutil.which("git")


def git(folder, *words):
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run([GIT, "-C", str(folder), *name, *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "kept.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_committed_tree_has_no_changes(tree):
    assert changes_of(tree) == ""


def test_changes_and_new_files_are_named(tree):
    (tree / "kept.py").write_text("x = 2\n")
    assert changes_of(tree) == "kept.py"
    (tree / "new.py").write_text("")
    assert changes_of(tree) == "kept.py and 1 more"


def test_what_is_no_repository_cannot_be_found_again(tmp_path, monkeypatch):
    assert "not a git repository" in changes_of(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert changes_of(tmp_path) == "git is not installed"
