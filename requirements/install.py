"""Make ``.venv`` ready: ``python3 requirements/install.py demo|all``. Standard library only.

Creates the environment when it is missing, installs the pinned and hash-checked lock, and links
mqd itself into it. A stamp in the environment holds the hash of what was installed, so a second
run does nothing. ``PIP_…`` settings of the user (a mirror, a proxy) are respected.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import fetch_pip

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "requirements"
NEEDED = (3, 11)
COVERS = {"demo": ["demo"], "all": ["all", "demo"]}


def main() -> None:
    """Install one lock into ``.venv``, or say in a sentence why that cannot be."""
    lock = sys.argv[1] if len(sys.argv) == 2 else ""
    if lock not in COVERS:
        sys.exit("Usage: python3 requirements/install.py demo|all")
    if sys.version_info < NEEDED:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"mqd needs Python 3.11 or newer; {sys.executable} is {found}."
            " Name a newer one: make PYTHON=python3.12 demo"
        )
    install(ROOT / ".venv", lock)


def install(venv: Path, lock: str) -> None:
    """Bring ``venv`` to the state of ``requirements/<lock>.txt`` plus mqd itself."""
    python = ensure_venv(venv)
    wanted = digest(python, lock)
    if read(stamp(venv, lock)) != wanted:
        print(f"Installing the packages of requirements/{lock}.txt into .venv …", flush=True)
        pip(python, "install", "--require-hashes", "-r", str(HERE / f"{lock}.txt"))
        link(python)
        for covered in COVERS[lock]:
            stamp(venv, covered).write_text(digest(python, covered), encoding="utf-8")


def ensure_venv(venv: Path) -> Path:
    """Return the environment's interpreter, making the environment when it is missing."""
    python = venv / "bin" / "python"
    if not runs(python):
        print("Creating .venv …", flush=True)
        make = [sys.executable, "-m", "venv", "--clear", str(venv)]
        if subprocess.run(make, capture_output=True, check=False).returncode != 0:
            subprocess.run([*make, "--without-pip"], check=True)
    if not runs(python, "-m", "pip") and not runs(Path(sys.executable), "-m", "pip"):
        bring_pip(python)
    return python


def bring_pip(python: Path) -> None:
    """Put the pinned pip into an environment when this Python has neither ensurepip nor pip."""
    print("This Python has no pip; fetching it from your registry …", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            wheel = fetch_pip.wheel(HERE / "pip.txt", Path(scratch))
        except (OSError, ValueError) as error:
            sys.exit(
                f"pip could not be fetched ({error})."
                " Install it with your system's packages, such as: apt install python3-venv"
            )
        itself = [str(python), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(itself, check=True, stdin=subprocess.DEVNULL)


def pip(python: Path, *arguments: str) -> None:
    """Run pip for the environment, through the outer Python's pip where it has none."""
    own = [str(python), "-m", "pip"]
    outer = [sys.executable, "-m", "pip", "--python", str(python)]
    start = own if runs(python, "-m", "pip") else outer
    command = [*start, "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"pip could not {arguments[0]}; its own message stands above.")


def link(python: Path) -> None:
    """Link this checkout into the environment; the build backend comes from the lock."""
    pip(
        python, "install", "--no-deps", "--no-index", "--no-build-isolation",
        "--editable", str(ROOT),
    )  # fmt: skip


def runs(python: Path, *arguments: str) -> bool:
    """Return whether this interpreter starts (with ``arguments`` and ``--version``)."""
    try:
        command = [str(python), *arguments, "--version"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def digest(python: Path, lock: str) -> str:
    """Return the hash of what an installation depends on: lock, metadata, place, Python."""
    version = subprocess.run([str(python), "-VV"], capture_output=True, check=True).stdout
    parts = [(HERE / f"{lock}.txt").read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode(), version])).hexdigest()


def stamp(venv: Path, lock: str) -> Path:
    """Return the file that remembers an installation."""
    return venv / f"installed-{lock}.txt"


def read(path: Path) -> str:
    """Return the text of a file, empty when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
