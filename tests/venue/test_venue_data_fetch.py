"""`mqd data fetch` against the venue on loopback: resumable, exact, one sentence when it fails."""

import json

import pytest

from mqd.cli.main import main
from mqd.core.clock import WallClock
from mqd.market_data.bars import load_bars
from mqd.market_data.catalog import Catalog
from mqd.market_data.pipeline import MarketDataPipeline
from mqd.market_data.providers import FileProvider
from tests.venue import venue_bench
from tests.venue.venue_bench import KEY, SECRET, venue_by_hand

SPAN = ["--start", "2022-05-19", "--end", "2022-05-19"]


@pytest.fixture(scope="module")
def bars():
    return load_bars(
        "datasets/equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-19"
    )


@pytest.fixture(scope="module")
def url(bars):
    venue = venue_by_hand(bars=bars)
    for _ in range(390):
        venue_bench.step(venue)
    with venue_bench.served(venue) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


def fetched(tmp_path, url, capsys, *words):
    code = main(["data", "fetch", "MSFT", *SPAN, "--url", url, "--catalog", str(tmp_path), *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_what_is_fetched_is_what_the_venue_has(tmp_path, url, bars, keys, capsys):
    code, out, err = fetched(tmp_path, url, capsys, "--json")
    assert code == 0, err
    told = json.loads(out)["fetched"]
    assert told["bars"]["n_rows"] == 390
    assert told["bars"]["gaps"] == {"MSFT": 0}
    assert set(told) == {"bars", "actions"}
    pipeline = MarketDataPipeline(
        [FileProvider("none.parquet", "1Min", "iex")], Catalog(tmp_path), WallClock()
    )
    got = pipeline.load(["MSFT"], bars.first, bars.last)["MSFT"]
    for name in ("ts_open", "open", "high", "low", "close", "volume"):
        assert getattr(got, name).tolist() == getattr(bars["MSFT"], name).tolist()


def test_a_second_fetch_asks_for_nothing_and_no_key_is_shown(
    tmp_path, url, keys, capsys, monkeypatch
):
    assert fetched(tmp_path, url, capsys)[0] == 0
    monkeypatch.setenv("APCA_API_KEY_ID", "wrong")
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    code, out, err = fetched(tmp_path, url, capsys)
    assert (code, "1 were complete" in out) == (0, True)
    assert SECRET not in out + err
    monkeypatch.setenv("APCA_API_KEY_ID", "wrong")
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    code, out, err = fetched(tmp_path / "new", url, capsys)
    assert code == 2
    assert "HTTP 401" in err
    assert SECRET not in out + err


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_trades_and_quotes_are_fetched_too(tmp_path, url, bars, keys, capsys, kind):
    code, out, _ = fetched(tmp_path, url, capsys, "--kind", kind, "--json")
    traded = int((bars["MSFT"].volume > 0).sum())
    assert (code, json.loads(out)["fetched"][kind]["n_rows"]) == (0, 4 * traded)


def test_a_day_that_is_none_and_no_symbol_are_usage_errors(capsys):
    assert main(["data", "fetch", "MSFT", "--start", "May", "--end", "2022-05-19"]) == 2
    assert "write a day as YYYY-MM-DD" in capsys.readouterr().err
    assert main(["data", "fetch", *SPAN]) == 2
    assert "Name at least one symbol" in capsys.readouterr().err
