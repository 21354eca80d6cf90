"""MarketDataPipeline with fake providers: order, cache, staleness, pages, months, gaps."""

import threading
from datetime import date

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S, SimulatedClock
from mqd.errors import EmptyBars, UsageError
from mqd.market_data.bars import load_bars
from mqd.market_data.catalog import Catalog, CatalogProvider, chunks_of
from mqd.market_data.errors import CatalogDamaged, NoProvider, ProviderFailed, ProviderRefused
from mqd.market_data.pipeline import MarketDataPipeline, read_all
from mqd.market_data.providers import DataQuery, FileProvider, Kind, Page, table_of

DATA = "datasets/equity_minute.parquet"
OPEN = pd.Timestamp("2024-01-31 09:30", tz="America/New_York").value


def day(text):
    return pd.Timestamp(text, tz="UTC").value


def row(symbol, at, close=10.0):
    return {"symbol": symbol, "timestamp": at, "open": 10.0, "high": 20.0, "low": 5.0,
            "close": close, "volume": 100.0, "trade_count": 4.0, "vwap": 10.0}  # fmt: skip


class Fake:
    """Gives rows of minutes, some a page; counts what it is asked."""

    def __init__(self, minutes=(), name="fake", feed="iex", page=3, error=None, symbols=("MSFT",)):
        self.name, self.feed, self.error, self.size = name, feed, error, page
        self.rows = [row(s, OPEN + m * NS_PER_MINUTE) for s in symbols for m in minutes]
        self.queries = []

    def page(self, query, token):
        self.queries.append((query, token))
        if self.error:
            raise self.error
        rows = [
            one for one in self.rows
            if query.start_ns <= one["timestamp"] < query.end_ns and one["symbol"] in query.symbols
        ]  # fmt: skip
        first = int(token or 0)
        rest = str(first + self.size) if first + self.size < len(rows) else ""
        return Page(table_of(query.kind, rows[first : first + self.size]), rest)


def pipeline(tmp_path, *providers, now=OPEN + 400 * NS_PER_MINUTE, **words):
    clock = SimulatedClock(now)
    return MarketDataPipeline(providers, Catalog(tmp_path), clock, **words), clock


def query(minutes=400, symbols=("MSFT",), timeframe="1Min"):
    return DataQuery(Kind.BARS, symbols, OPEN, OPEN + minutes * NS_PER_MINUTE, timeframe)


def minutes_of(table):
    return [(one.value - OPEN) // NS_PER_MINUTE for one in table.column("timestamp").to_pandas()]


@pytest.mark.parametrize("page", [1, 2, 3, 10, 100])
def test_all_pages_are_read_each_row_once(tmp_path, page):
    fake = Fake(range(10), page=page, symbols=("MSFT", "SPY"))
    one, _ = pipeline(tmp_path, fake)
    answer = one.get(query(symbols=("MSFT", "SPY")))
    assert minutes_of(answer.table) == [*range(10), *range(10)]
    assert len(fake.queries) == -(-20 // page)
    assert (answer.provider, answer.feed, answer.stale) == ("fake", "iex", False)


def test_a_provider_whose_pages_never_end_is_given_up():
    class Endless(Fake):
        def page(self, query, token):
            super().page(query, "")
            return Page(table_of(query.kind, []), "again")

    with pytest.raises(ProviderFailed, match="gave a token twice"):
        read_all(Endless(range(3)), query())


def test_the_first_provider_that_can_answers_alone(tmp_path):
    down = Fake(error=ProviderFailed("down", "it cannot be reached"), name="down")
    second, third = Fake(range(3), name="second", feed="sip"), Fake(range(9), name="third")
    one, _ = pipeline(tmp_path, down, second, third)
    answer = one.get(query())
    assert (answer.provider, answer.feed, answer.table.num_rows) == ("second", "sip", 3)
    assert answer.failures == ("down: it cannot be reached.",)
    assert third.queries == []


def test_a_refusal_is_not_covered_up_by_another_provider(tmp_path):
    refused = Fake(error=ProviderRefused("alpaca", "HTTP 401: unauthorized"))
    one, _ = pipeline(tmp_path, refused, Fake(range(3)))
    with pytest.raises(ProviderRefused, match="HTTP 401"):
        one.get(query())


def test_all_failures_are_named(tmp_path):
    failed = [Fake(error=ProviderFailed(name, "is down")) for name in ("a", "b")]
    one, _ = pipeline(tmp_path, *failed)
    with pytest.raises(NoProvider, match=r"1Min bars of MSFT: a: is down\. b: is down\."):
        one.get(query())


def test_an_answer_is_cached_for_thirty_seconds(tmp_path):
    fake = Fake(range(3), page=10)
    one, clock = pipeline(tmp_path, fake)
    assert one.get(query()) is one.get(query())
    assert len(fake.queries) == 1
    clock.advance(clock.now_ns() + 30 * NS_PER_S - 1)
    one.get(query())
    assert len(fake.queries) == 1
    clock.advance(clock.now_ns() + 1)
    one.get(query())
    assert len(fake.queries) == 2
    one.get(query(5))
    assert len(fake.queries) == 3


def test_a_failure_is_not_cached(tmp_path):
    fake = Fake(range(3), error=ProviderFailed("fake", "is down"))
    one, _ = pipeline(tmp_path, fake)
    with pytest.raises(NoProvider):
        one.get(query())
    fake.error = None
    assert one.get(query()).table.num_rows == 3


def test_many_threads_ask_once(tmp_path):
    inside, release = threading.Event(), threading.Event()

    class Slow(Fake):
        def page(self, query, token):
            inside.set()
            assert release.wait(5)
            return super().page(query, token)

    fake, answers = Slow(range(3), page=10), []
    one, _ = pipeline(tmp_path, fake)
    threads = [threading.Thread(target=lambda: answers.append(one.get(query()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert inside.wait(5)
    release.set()
    for thread in threads:
        thread.join(5)
    assert len(answers) == 8
    assert len(fake.queries) == 1


STALE = [
    # newest bar, minutes after the open at which is asked, stale? (allowed: 90 s and one bar)
    (9, 10, False),
    (9, 12.4, False),
    (9, 12.6, True),
    (None, 2, False),
    (None, 3.6, True),
    (9, 391, False),
]


@pytest.mark.parametrize(("newest", "at", "stale"), STALE)
def test_old_rows_of_an_open_session_are_marked(tmp_path, newest, at, stale):
    fake = Fake(range(newest + 1) if newest is not None else ())
    one, _ = pipeline(tmp_path, fake, now=OPEN + int(at * NS_PER_MINUTE))
    assert one.get(query(400)).stale == stale


def test_a_stale_answer_makes_way_for_a_fresh_one(tmp_path):
    old, fresh = Fake(range(5), name="old"), Fake(range(60), name="fresh")
    one, _ = pipeline(tmp_path, old, fresh, now=OPEN + 60 * NS_PER_MINUTE)
    answer = one.get(query())
    assert (answer.provider, answer.stale) == ("fresh", False)
    assert answer.failures == ("old: its newest row is old.",)


def test_a_bar_that_is_not_over_is_left_out(tmp_path):
    now = OPEN + 5 * NS_PER_MINUTE + 1
    one, _ = pipeline(tmp_path, Fake(range(10)), now=now)
    assert minutes_of(one.get(query()).table) == [0, 1, 2, 3, 4]
    midnight = pd.Timestamp("2024-01-31", tz="America/New_York").value
    daily = Fake()
    daily.rows = [row("MSFT", midnight - NS_PER_DAY), row("MSFT", midnight)]
    wanted = DataQuery(Kind.BARS, ("MSFT",), midnight - 5 * NS_PER_DAY, now, "1Day")
    for at, n_bars in ((OPEN + 389 * NS_PER_MINUTE, 1), (OPEN + 390 * NS_PER_MINUTE, 2)):
        one, _ = pipeline(tmp_path, daily, now=at)
        assert one.get(wanted).table.num_rows == n_bars


def test_a_fetch_goes_on_where_it_was_stopped(tmp_path):
    """Two months of two symbols; the third file fails; the second fetch asks only for the rest."""
    fake = Fake(range(20), page=100, symbols=("MSFT", "SPY"))
    february = 24 * 60
    fake.rows += [row(s, OPEN + (february + m) * NS_PER_MINUTE)
                  for s in ("MSFT", "SPY") for m in range(5)]  # fmt: skip
    wanted = DataQuery(Kind.BARS, ("MSFT", "SPY"), OPEN, day("2024-02-02"))
    page = fake.page
    fake.page = lambda q, t: (_ for _ in ()).throw(ProviderFailed("fake", "cut off")) if (
        len(fake.queries) == 2
    ) else page(q, t)  # fmt: skip
    one, _ = pipeline(tmp_path, fake, now=day("2024-03-05"))
    with pytest.raises(NoProvider, match="cut off"):
        one.fetch(wanted)
    fake.page, fake.queries = page, []
    told = []
    report = one.fetch(
        wanted, lambda chunk, number, count: told.append((chunk[2:4], number, count))
    )
    assert told == [(("SPY", "2024-01"), 3, 4), (("SPY", "2024-02"), 4, 4)]
    assert (report.n_known, report.n_files, report.n_rows) == (2, 2, 25)
    assert one.fetch(wanted).n_known == 4
    assert minutes_of(one.catalog.read("iex", wanted)) == 2 * [
        *range(20), *range(february, february + 5)
    ]  # fmt: skip


def test_a_month_that_is_not_over_is_fetched_again(tmp_path):
    fake = Fake(range(390))
    one, clock = pipeline(tmp_path, fake, now=OPEN + 100 * NS_PER_MINUTE)
    assert one.fetch(query()).n_rows == 100
    clock.advance(OPEN + 200 * NS_PER_MINUTE)
    assert one.fetch(query()).n_rows == 200
    clock.advance(day("2024-02-01"))
    assert one.fetch(query()).n_rows == 390
    assert one.fetch(query()).n_known == 1


def test_gaps_are_counted_and_not_filled(tmp_path):
    minutes = [m for m in range(390) if m not in {5, 6, 200}]
    one, _ = pipeline(tmp_path, Fake(minutes, page=1000), now=day("2024-02-01"))
    report = one.fetch(query())
    assert report.gaps == {"MSFT": 3}
    bars = one.load(["MSFT"], OPEN, day("2024-02-01"))
    assert len(bars["MSFT"]) == 387


def test_rows_outside_the_session_stay_in_the_catalog_and_out_of_the_bars(tmp_path):
    one, _ = pipeline(tmp_path, Fake(range(-60, 450), page=1000), now=day("2024-02-02"))
    wanted = DataQuery(Kind.BARS, ("MSFT",), day("2024-01-31"), day("2024-02-01"))
    one.fetch(wanted)
    assert one.catalog.read("iex", wanted).num_rows == 510
    assert len(one.load(["MSFT"], *wanted_span(wanted))["MSFT"]) == 390


def wanted_span(wanted):
    return wanted.start_ns, wanted.end_ns


def test_the_feed_is_kept_apart_and_belongs_to_the_identity(tmp_path):
    iex, _ = pipeline(tmp_path, Fake(range(390), page=1000), now=day("2024-02-01"))
    sip, _ = pipeline(tmp_path, Fake(range(390), page=1000, feed="sip"), now=day("2024-02-01"))
    iex.fetch(query())
    with pytest.raises(EmptyBars, match=r"catalog \(sip\)"):
        sip.load(["MSFT"], OPEN, day("2024-02-01"))
    sip.fetch(query())
    both = [one.load(["MSFT"], OPEN, day("2024-02-01")) for one in (iex, sip)]
    assert [bars.feed for bars in both] == ["iex", "sip"]
    assert both[0].sha256 != both[1].sha256
    assert iex.catalog.feeds() == ["iex", "sip"]


@pytest.mark.parametrize("timeframe", ["1Min", "5Min", "30Min", "1Hour", "1Day"])
def test_fetched_bars_equal_those_of_the_file(tmp_path, timeframe):
    """A file through provider, catalog and load gives what `load_bars` and aggregation give."""
    from mqd.market_data.aggregation import aggregate

    whole = load_bars(DATA, symbols=["MSFT"], adjust="none")
    words = {"5Min": "5min", "30Min": "30min", "1Hour": "30min", "1Day": "1day"}
    source = whole if timeframe == "1Min" else aggregate(whole, words[timeframe])
    path = tmp_path / "bars.parquet"
    frame = source.to_pandas().drop(columns="ts_close")
    if timeframe == "1Day":
        local = frame["timestamp"].dt.tz_convert("America/New_York").dt.normalize()
        frame["timestamp"] = local.dt.tz_convert("UTC")
    frame.to_parquet(path)
    kept = "30Min" if timeframe == "1Hour" else timeframe
    one, _ = pipeline(tmp_path / "catalog", FileProvider(path, kept), now=day("2022-08-01"))
    wanted = DataQuery(Kind.BARS, ("MSFT",), day("2022-05-01"), day("2022-07-01"), timeframe)
    one.fetch(wanted)
    got = one.load(["MSFT"], wanted.start_ns, wanted.end_ns, timeframe)["MSFT"]
    expected = (whole if timeframe == "1Min" else aggregate(whole, {**words, "1Hour": "60min"}[
        timeframe]))["MSFT"]  # fmt: skip
    for name in ("ts_open", "ts_close", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_splits_of_the_catalog_adjust_the_prices(tmp_path):
    one, _ = pipeline(tmp_path, Fake(page=1000), now=day("2024-03-01"))
    fake = one.providers[0]
    fake.rows = [row("MSFT", OPEN - NS_PER_DAY, 20.0), row("MSFT", OPEN, 10.0)]
    one.fetch(DataQuery(Kind.BARS, ("MSFT",), day("2024-01-01"), day("2024-02-01")))
    actions = [{"symbol": "MSFT", "ex_date": date(2024, 1, 31), "kind": "split", "ratio": "2",
                "amount": "0"}]  # fmt: skip
    chunk = chunks_of(DataQuery(Kind.ACTIONS, ("MSFT",), day("2024-01-01"), day("2024-01-02")))[0]
    one.catalog.write("iex", chunk, table_of(Kind.ACTIONS, actions), day("2024-03-01"))
    bars = one.load(["MSFT"], day("2024-01-01"), day("2024-02-01"))
    assert bars["MSFT"].close.tolist() == [10.0, 10.0]
    raw = one.load(["MSFT"], day("2024-01-01"), day("2024-02-01"), adjust="none")
    assert raw["MSFT"].close.tolist() == [20.0, 10.0]


def test_the_catalog_answers_as_a_provider_only_when_it_has_everything(tmp_path):
    one, _ = pipeline(tmp_path, Fake(range(20), page=100), now=day("2024-02-01"))
    one.fetch(query())
    known = CatalogProvider(one.catalog, "iex")
    assert minutes_of(read_all(known, query(10))) == list(range(10))
    with pytest.raises(ProviderFailed, match="it has no 2024-01 of SPY"):
        known.page(query(symbols=("MSFT", "SPY")), "")


def test_a_damaged_file_of_the_catalog_is_named(tmp_path):
    one, _ = pipeline(tmp_path, Fake(range(20), page=100), now=day("2024-02-01"))
    one.fetch(query())
    [path] = tmp_path.rglob("*.parquet")
    table = pq.read_table(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CatalogDamaged, match=r"2024-01\.parquet: .*Delete the file"):
        one.catalog.read("iex", query())
    pq.write_table(table.replace_schema_metadata({"mqd": '{"symbol": "SPY"}'}), path)
    with pytest.raises(CatalogDamaged, match="it says symbol 'SPY'"):
        one.catalog.read("iex", query())


def test_nothing_half_written_is_left_under_a_files_name(tmp_path, monkeypatch):
    one, _ = pipeline(tmp_path, Fake(range(20), page=100), now=day("2024-02-01"))

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        one.fetch(query())
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"symbols": ()}, "name at least one"),
        ({"symbols": ("../etc",)}, "is no symbol"),
        ({"timeframe": "2Min"}, "1Min, 5Min, 15Min, 30Min, 1Hour, 1Day"),
        ({"end_ns": 0}, "start must lie before end"),
    ],
)
def test_a_wrong_question_is_refused(words, said):
    good = {"kind": Kind.BARS, "symbols": ("MSFT",), "start_ns": 1, "end_ns": 2}
    with pytest.raises(UsageError, match=said):
        DataQuery(**{**good, **words})


def test_a_file_gives_only_what_it_holds(tmp_path):
    one = FileProvider(DATA, "1Min")
    with pytest.raises(ProviderFailed, match="it holds 1Min bars, not 1Day bars of MSFT"):
        one.page(query(timeframe="1Day"), "")
    absent = FileProvider(tmp_path / "none.parquet", "1Min")
    with pytest.raises(ProviderFailed, match=r"none\.parquet: it cannot be read"):
        absent.page(query(), "")
