"""The free plan of market data, and the running day bars, as the adapter hears them."""

import queue

import pytest

from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.stream_state import StreamNotReady
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import WallClock
from mqd.venue.config import read_config
from mqd.venue.errors import VenueConfigWrong
from mqd.venue.process import venue_of
from tests.venue.test_venue_process import words_of, write
from tests.venue.venue_bench import KEY, SECRET, ask, bars_by_hand, served, step, venue_by_hand

WAIT_S = 10
THIRTY = [f"S{n}" for n in range(30)]


def streams(port, sink, feed="iex", **subscribed):
    one = AlpacaStreams(
        data_url=f"ws://127.0.0.1:{port}/v2/{feed}", key_id=Secret(KEY), secret=Secret(SECRET),
        clock=WallClock(), on_data=sink, backoff_s=(5.0, 5.0),
    )  # fmt: skip
    one.subscribe(**subscribed)
    one.start()
    return one


def test_more_than_thirty_symbols_of_the_free_plan_are_refused_in_words():
    with served(venue_by_hand(plan="free")) as port:
        one = streams(port, print, trades=THIRTY, quotes=["S30"], bars=["S99"])
        with pytest.raises(StreamNotReady) as refused:
            one.wait_ready(WAIT_S)
        assert one.stop()
    said = str(refused.value)
    assert "405 (symbol limit exceeded)" in said
    assert "trades and quotes of 31 symbols" in said
    assert "the free plan of market data gives 30" in said
    assert "take symbols out of the configuration, or a plan without that limit" in said


def test_thirty_symbols_of_trades_and_quotes_and_any_of_bars_are_heard():
    with served(venue_by_hand(plan="free")) as port:
        one = streams(port, print, trades=THIRTY, quotes=THIRTY, bars=[f"B{n}" for n in range(50)])
        one.wait_ready(WAIT_S)
        assert one.state["data"].channels >= {"trades", "quotes", "bars"}
        assert one.stop()


def test_a_feed_that_the_plan_does_not_have_says_which_to_write():
    with served(venue_by_hand(plan="free")) as port:
        one = streams(port, print, feed="sip", bars=["AAA"])
        with pytest.raises(StreamNotReady, match=r'409 .*write feed = "iex"'):
            one.wait_ready(WAIT_S)
        assert one.stop()


def test_the_free_plan_answers_no_recent_sip_bars_over_rest():
    query = {"symbols": "AAA", "timeframe": "1Min", "start": "2024-03-04", "feed": "sip"}
    found = {}
    for plan in ("free", "paid"):
        venue = venue_by_hand(plan=plan)
        step(venue)
        found[plan] = ask(venue, "GET", "/v2/stocks/bars", query=query)
    assert (found["free"].status, found["paid"].status) == (403, 200)
    assert "recent SIP" in found["free"].body["message"]


def test_the_process_takes_its_plan_from_its_file(tmp_path):
    file = tmp_path / "bars.parquet"
    bars_by_hand().to_pandas().drop(columns="ts_close").to_parquet(file)
    plans = [
        venue_of(read_config(write(tmp_path, words_of(file, **words)))).data.plan
        for words in ({}, {"plan": "free"}, {"plan": "paid"})
    ]
    assert plans == ["paid", "free", "paid"]
    with pytest.raises(VenueConfigWrong, match="plan is 'gold'; write free or paid"):
        read_config(write(tmp_path, words_of(file, plan="gold")))


def test_the_day_bar_so_far_follows_each_minute():
    """The highs and lows of the bench's minutes, by hand: 101/99, 101/99, 102/98, 110/90."""
    venue, frames = venue_by_hand(), queue.Queue()
    with served(venue) as port:
        one = streams(port, frames.put, daily_bars=["AAA"])
        one.wait_ready(WAIT_S)
        told = []
        for _ in range(6):
            step(venue)
            [message] = frames.get(timeout=WAIT_S)
            told.append(message)
        assert one.stop()
    assert {message["T"] for message in told} == {"d"}
    assert [(m["h"], m["l"], m["v"]) for m in told] == [
        (101, 99, 10_000), (101, 99, 20_000), (102, 98, 30_000), (110, 90, 40_000),
        (110, 90, 50_000), (101, 99, 10_000),
    ]  # fmt: skip
    assert told[0]["t"] == 1709528400 * 10**9  # 2024-03-04 00:00 in New York
    assert told[5]["t"] - told[0]["t"] == 86_400 * 10**9


def test_nobody_is_sent_day_bars_who_did_not_ask():
    venue, frames = venue_by_hand(), queue.Queue()
    with served(venue) as port:
        one = streams(port, frames.put, bars=["AAA"])
        one.wait_ready(WAIT_S)
        step(venue)
        assert [message["T"] for message in frames.get(timeout=WAIT_S)] == ["b"]
        assert one.stop()
