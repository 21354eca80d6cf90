"""`mqd data` and `mqd doctor`."""

import shutil
from pathlib import Path

import pytest

from mqd.cli import data, doctor
from mqd.cli import main as cli
from mqd.market_data import datasets
from tests.unit.cli.test_cli import strict_json

COMMITTED = {"us_equity_daily_raw", "corporate_actions", "crypto_minute", "equity_minute"}


def test_list_names_the_committed_datasets(capsys):
    assert cli.main(["data", "list", "--json"]) == 0
    records = strict_json(capsys.readouterr().out)["datasets"]
    assert {record["name"] for record in records if record["committed"]} == COMMITTED
    assert cli.main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMITTED)
    assert max(map(len, printed.splitlines())) < 160


def test_verify_accepts_the_committed_files(capsys):
    assert cli.main(["data", "verify", "corporate_actions", "--json"]) == 0
    document = strict_json(capsys.readouterr().out)
    assert document["ok"] is True
    assert [record["name"] for record in document["datasets"]] == ["corporate_actions"]


def test_verify_fails_on_any_change(tmp_path, capsys):
    for name in ("MANIFEST.toml", "corporate_actions.parquet"):
        shutil.copy(Path("datasets") / name, tmp_path)
    file = tmp_path / "corporate_actions.parquet"
    changed = bytearray(file.read_bytes())
    changed[100] ^= 1
    file.write_bytes(changed)
    assert cli.main(["data", "verify", "corporate_actions", "--folder", str(tmp_path)]) == 1
    assert "corporate_actions.parquet: sha256" in capsys.readouterr().err


def test_build_hands_its_words_on_and_tells_its_steps(tmp_path, monkeypatch, capsys):
    seen = []

    def fake(names, out, cache, progress):
        seen.append((names, out, cache))
        progress("build fx_hourly")
        return [{"name": "fx_hourly", "file": "fx_hourly.parquet", "bytes": 1, "sha256": "0"}]

    monkeypatch.setattr(datasets, "build", fake)
    assert data.build("fx_hourly", out=tmp_path, cache=tmp_path) == 0
    printed = capsys.readouterr()
    assert seen == [(["fx_hourly"], tmp_path, tmp_path)]
    assert printed.err == "build fx_hourly\n"
    assert printed.out.startswith("fx_hourly.parquet")
    assert data.build() == 0
    assert seen[1] == (None, None, None)


def test_doctor_is_content_here(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    document = strict_json(capsys.readouterr().out)
    assert document["ok"] is True
    names = [check["name"] for check in document["checks"]]
    assert {"Python", "numpy", "numba loads", "datasets", "time zones", "disk"} <= set(names)


def test_doctor_fails_when_one_check_fails(monkeypatch, capsys):
    bad = doctor.Check("clock", "fail", "1970", "set it")
    monkeypatch.setattr(doctor, "examine", lambda: iter([bad]))
    assert doctor.doctor() == 1
    assert capsys.readouterr().out == "fail  clock: 1970  → set it\n"


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (lambda: doctor.check_python((3, 10)), "fail"),
        (lambda: doctor.check_python((3, 11)), "ok"),
        (lambda: doctor.check_version("numpy", lambda _: True, "numpy"), "ok"),
        (lambda: doctor.check_version("numpy", lambda _: False, "numpy>=99"), "fail"),
        (lambda: doctor.check_version("no-such-library", lambda _: True, "x"), "fail"),
        (lambda: doctor.check_clock(0), "fail"),
        (lambda: doctor.check_clock(1_800_000_000 * 10**9), "ok"),
        (lambda: doctor.check_writable("x", Path("/proc/none")), "fail"),
    ],
)
def test_checks_tell_well_from_ill(check, status):
    found = check()
    assert found.status == status
    assert bool(found.advice) == (status != "ok")


def test_a_folder_that_is_to_be_made_is_judged_by_its_parent(tmp_path):
    assert doctor.check_writable("cache", tmp_path / "a" / "b").status == "ok"


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert doctor.check_disk(tmp_path).status == "warn"


def test_a_missing_browser_is_a_warning(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert doctor.check_browser().status == "warn"


def test_a_changed_dataset_is_a_failure(monkeypatch):
    def changed():
        raise datasets.DatasetChanged("x.parquet", "sha256", "a", "b")

    monkeypatch.setattr(datasets, "verify", changed)
    assert doctor.check_datasets().status == "fail"
