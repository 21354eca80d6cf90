"""The version of a promotion record is that of the code, not of a number that nobody raises."""

from types import SimpleNamespace

import mqd
from mqd.promotion import code_version as module


def version_of(root, monkeypatch):
    fake = SimpleNamespace(__file__=str(root / "__init__.py"), __version__="1.0")
    monkeypatch.setattr(module, "mqd", fake)
    return module.code_version.__wrapped__()


def test_each_change_of_a_module_is_another_version(tmp_path, monkeypatch):
    (tmp_path / "risk").mkdir()
    (tmp_path / "__init__.py").write_text("")
    rules = tmp_path / "risk/rules.py"
    rules.write_text("LIMIT = 1\n")
    seen = [version_of(tmp_path, monkeypatch)]
    rules.write_text("LIMIT = 2\n")
    seen.append(version_of(tmp_path, monkeypatch))
    rules.rename(tmp_path / "risk/other.py")
    seen.append(version_of(tmp_path, monkeypatch))
    (tmp_path / "notes.txt").write_text("no code")
    assert version_of(tmp_path, monkeypatch) == seen[-1]
    assert len(set(seen)) == 3
    assert all(one.startswith("1.0+") for one in seen)


def test_the_real_version_names_the_package():
    assert module.code_version().startswith(f"{mqd.__version__}+")
