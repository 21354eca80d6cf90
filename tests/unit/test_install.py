"""The environment's installer: what it refuses, and when it has nothing to do."""

import hashlib
import importlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.style import house

sys.path.insert(0, str(house.ROOT / "requirements"))
install = importlib.import_module("install")
fetch_pip = importlib.import_module("fetch_pip")
sys.path.pop(0)


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


WHEEL = b"the bytes of a wheel"
HASH = hashlib.sha256(WHEEL).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry on this machine whose page links to one wheel by a relative address."""
    site = tmp_path / "site"
    (site / "simple/pip").mkdir(parents=True)
    (site / "files").mkdir()
    (site / "files/pip-26.1-py3-none-any.whl").write_bytes(WHEEL)
    link = "../../files/pip-26.1-py3-none-any.whl#sha256=0"
    (site / "simple/pip/index.html").write_text(
        f'<a href="{link.replace("26.1", "25.0")}">old</a><a href="{link}">pip</a>'
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield tmp_path
    server.shutdown()
    server.server_close()


def pinned(folder, version, digest):
    lock = folder / "pip.txt"
    lock.write_text(f"pip=={version} \\\n    --hash=sha256:{digest}\n")
    return lock


def test_pip_itself_comes_from_the_users_registry(registry):
    found = fetch_pip.wheel(pinned(registry, "26.1", HASH), registry)
    assert found.name == "pip-26.1-py3-none-any.whl"
    assert found.read_bytes() == WHEEL


def test_another_content_than_the_pinned_one_is_refused(registry):
    with pytest.raises(ValueError, match="not the pinned file"):
        fetch_pip.wheel(pinned(registry, "26.1", "0" * 64), registry)
    assert not list(registry.glob("*.whl"))


def test_a_registry_without_the_file_is_named(registry):
    with pytest.raises(ValueError, match=r"simple/pip/ has no pip-26\.2-py3-none-any\.whl"):
        fetch_pip.wheel(pinned(registry, "26.2", HASH), registry)


def test_the_registry_is_read_from_a_config_file(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert fetch_pip.index() == "https://mirror.example/simple"


def test_without_a_named_registry_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setattr(fetch_pip, "CONFIGS", (str(tmp_path / "none.conf"),))
    with pytest.raises(ValueError, match="set PIP_INDEX_URL"):
        fetch_pip.index()


def test_a_local_file_is_no_registry():
    with pytest.raises(ValueError, match="no web address"):
        fetch_pip.get("file:///etc/hostname")


def test_without_pip_and_registry_there_is_a_sentence(place, monkeypatch):
    def unreachable(*_):
        raise OSError("no route")

    monkeypatch.setattr(fetch_pip, "wheel", unreachable)
    with pytest.raises(SystemExit, match=r"pip could not be fetched \(no route\).*python3-venv"):
        install.bring_pip(sys.executable)
