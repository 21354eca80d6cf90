"""``mqd doctor``: what this machine lacks, line by line, and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from mqd.cli import output
from mqd.core.clock import NS_PER_S, WallClock, iso
from mqd.errors import MqdError

FREE_BYTES_MIN = 2 * 10**9
CLOCK_NOT_BEFORE_NS = 1_767_225_600 * NS_PER_S  # 2026-01-01, before the first version of mqd
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Check(NamedTuple):
    """One line: what was looked at, how it is, and what to do when it is not well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def doctor(*, json: bool = False) -> int:
    """Check this machine and this installation; exit code 1 when something fails.

    Parameters
    ----------
    json
        Print one JSON document to stdout.
    """
    checks = list(examine())
    ok = all(check.status != "fail" for check in checks)
    if json:
        output.print_json({"ok": ok, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            advice = f"  → {check.advice}" if check.advice else ""
            print(f"{check.status:<4}  {check.name}: {check.found}{advice}")
    return 0 if ok else 1


def examine() -> Iterator[Check]:
    """Yield every check, in the order in which a person would repair them."""
    yield check_python()
    yield from check_libraries()
    yield from check_imports()
    yield from check_folders()
    yield check_disk(Path.cwd())
    yield check_clock()
    yield check_zones()
    yield check_datasets()
    yield check_browser()


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Python at or above the floor."""
    found = f"{version[0]}.{version[1]} at {sys.executable}"
    if version < (3, 11):
        return Check("Python", "fail", found, "mqd needs 3.11 or newer")
    return Check("Python", "ok", found)


def check_libraries() -> Iterator[Check]:
    """Each required library at a version that the package's own metadata allows."""
    from packaging.requirements import Requirement

    try:
        wanted = importlib.metadata.requires("mqd") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("mqd", "fail", "not installed in this environment", "run: make demo")
        return
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            yield check_version(requirement.name, requirement.specifier.contains, text)


def check_version(name: str, allows: Callable[[str], bool], text: str) -> Check:
    """One library: installed, and at a version that ``allows`` accepts."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "fail", "not installed", "run: make demo")
    if not allows(version):
        return Check(name, "fail", f"{version}, but mqd needs {text}", "run: make demo")
    return Check(name, "ok", version)


def check_imports() -> Iterator[Check]:
    """The two libraries that carry compiled code of their own load here."""
    for name, module in (("numba loads", "numba"), ("TA-Lib loads", "talib")):
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            yield Check(
                name, "fail", str(error), "reinstall the environment: rm -r .venv, make demo"
            )
        else:
            yield Check(name, "ok", "yes")


def check_folders() -> Iterator[Check]:
    """The folders that mqd and numba write to take a file."""
    cache = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    for name, folder in (
        ("cache folder", Path(cache) if cache else Path.home() / ".cache"),
        ("working folder", Path.cwd()),
    ):
        yield check_writable(name, folder)


def check_writable(name: str, folder: Path) -> Check:
    """A folder, or the nearest parent that exists, takes a file."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check(name, "ok", str(folder))
    except OSError as error:
        advice = "make it writable, or work from another folder"
        return Check(name, "fail", f"{folder}: {error.strerror}", advice)


def check_disk(folder: Path) -> Check:
    """Room for runs and rebuilt datasets."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES_MIN:
        return Check("disk", "warn", found, "free some; a full disk stops a run")
    return Check("disk", "ok", found)


def check_clock(now_ns: int | None = None) -> Check:
    """The computer's clock is not obviously wrong."""
    instant = WallClock().now_ns() if now_ns is None else now_ns
    if instant < CLOCK_NOT_BEFORE_NS:
        return Check("clock", "fail", iso(instant), "set the computer's clock")
    return Check("clock", "ok", iso(instant))


def check_zones() -> Check:
    """New York's time zone is known, with its daylight saving."""
    from datetime import datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        zone = ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return Check("time zones", "fail", "no zone data", "run: make demo (it installs tzdata)")
    hours = [datetime(2024, month, 1, tzinfo=zone).strftime("%z") for month in (1, 7)]
    right = hours == ["-0500", "-0400"]
    found = f"New York {hours[0]} in January, {hours[1]} in July"
    return Check("time zones", "ok" if right else "fail", found, "" if right else "update tzdata")


def check_datasets() -> Check:
    """The committed datasets are as the manifest says."""
    from mqd.market_data import datasets

    try:
        report = datasets.verify()
    except MqdError as error:
        return Check("datasets", "fail", str(error), "see: mqd data verify")
    return Check("datasets", "ok", f"{len(report)} verified")


def check_browser() -> Check:
    """A browser for the tests of the report; nothing else needs one."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return Check("browser", "ok", path)
    return Check("browser", "warn", "no Chromium", "only the browser tests need it")
