"""Trades taken back, imbalances, scopes and every-symbol subscriptions, as clients hear them."""

import queue
import threading
import warnings
from decimal import Decimal
from types import SimpleNamespace

import pytest

from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.socket_link import REFUSALS
from mqd.adapters.alpaca.stream_state import StreamNotReady
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.bar import Trade, TradeChange
from mqd.core.clock import SimulatedClock, WallClock
from mqd.live.sightings import Sightings
from mqd.market_data.quotes import QuoteAggregator
from mqd.market_data.realtime import RealtimeDataHandler
from mqd.risk.live_state import UNKNOWN
from mqd.venue.answer import SCOPES
from mqd.venue.config import read_config
from mqd.venue.data_stream import ERRORS
from mqd.venue.errors import VenueConfigWrong
from tests.venue.test_venue_notices import Told, heard, told, until
from tests.venue.test_venue_process import words_of, write
from tests.venue.venue_bench import KEY, OAUTH_TOKEN, SECRET, bars_by_hand, served, venue_by_hand

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.data.live import StockDataStream
    from alpaca.data.models import TradeCancel, TradeCorrection

WAIT_S = 10
DOCUMENTED = {400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 500}
CORRECTED = {"symbol": "AAA", "id": 3, "price": "100.25", "size": 100}
"""Of the first bar's trades 100, 99, 101, 100 (2,500 each) the third."""


def test_alpacas_own_client_hears_a_correction_and_a_cancel():
    found = queue.Queue()

    async def keep(one):
        found.put(one)

    with told() as one, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        stream = StockDataStream(KEY, SECRET, url_override=f"{one.ws}/v2/iex")
        stream.subscribe_trades(keep, "AAA")
        stream.register_trade_corrections(keep)
        stream.register_trade_cancels(keep)
        thread = threading.Thread(target=stream.run, daemon=True)
        thread.start()
        assert until(lambda: stream._running)
        threading.Event().wait(0.5)
        one.step()
        trades = [found.get(timeout=WAIT_S) for _ in range(4)]
        one.say("correction", **CORRECTED)
        correction = found.get(timeout=WAIT_S)
        one.say("trade_cancel", symbol="AAA", id=2)
        cancel = found.get(timeout=WAIT_S)
        stream.stop()
        thread.join(WAIT_S)
    assert [(trade.id, trade.price) for trade in trades] == [(1, 100), (2, 99), (3, 101), (4, 100)]
    assert isinstance(correction, TradeCorrection)
    assert (correction.original_id, correction.original_price, correction.original_size) == (
        3, 101, 2500,
    )  # fmt: skip
    assert (correction.corrected_price, correction.corrected_size) == (100.25, 100)
    assert correction.corrected_id not in {trade.id for trade in trades}
    assert isinstance(cancel, TradeCancel)
    assert (cancel.id, cancel.price, cancel.size, cancel.action) == (2, 99, 2500, "C")


def test_the_handler_tells_of_both_and_bars_that_went_through_stay():
    bars, changes, trades = [], [], []
    clock = SimulatedClock(int(bars_by_hand()["AAA"].ts_close[0]))
    with told() as one:
        handler = RealtimeDataHandler(
            ["AAA"], clock, bars.append, on_trade=trades.append, on_change=changes.append
        )
        words = {"bars": ["AAA"], "updated_bars": ["AAA"], "trades": ["AAA"]}
        with heard(one, handler.take, **words):
            one.step()
            assert until(lambda: handler.pump() and len(bars)) == 1
            one.say("correction", **CORRECTED)
            one.say("trade_cancel", symbol="AAA", id=2, error=True)
            assert until(lambda: handler.pump() * 0 or len(changes) == 2)
            assert until(lambda: handler.pump() * 0 or handler.gate.n_revised == 2)
    assert [trade.id for trade in trades] == [1, 2, 3, 4]
    fixed, void = changes
    assert (fixed.symbol, fixed.id, void.id, void.corrected) == ("AAA", 3, 2, None)
    assert (fixed.corrected.px, fixed.corrected.qty) == (Decimal("100.25"), 100)
    assert [(bar.high, bar.low, bar.volume) for bar in bars] == [(101, 99, 10_000)]
    assert (handler.counts["c"], handler.counts["x"], handler.bad.total) == (1, 1, 0)


def test_growing_bars_are_built_anew_without_what_was_taken_back():
    """Trades 10, 12, 9, 11 of one share each; by hand."""
    book = QuoteAggregator()
    for number, px in enumerate(("10", "12", "9", "11"), 1):
        book.on_trade(Trade("AAA", number * 10**9, Decimal(px), Decimal(1), number))
    assert book.on_change(TradeChange("AAA", 10**10, 2))
    fixed = Trade("AAA", 10**10, Decimal("10.5"), Decimal(4), 7)
    assert book.on_change(TradeChange("AAA", 10**10, 4, fixed))
    [bar] = book.close_until(60 * 10**9)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (10, 10.5, 9, 10.5, 6)
    assert not book.on_change(TradeChange("AAA", 10**10, 1))
    assert not book.on_change(TradeChange("BBB", 10**10, 1))
    assert (book.n_changed, book.n_late) == (2, 2)


def test_a_bar_of_which_every_trade_was_taken_back_is_none():
    book = QuoteAggregator()
    book.on_trade(Trade("AAA", 10**9, Decimal(10), Decimal(1), 1))
    assert book.on_change(TradeChange("AAA", 10**10, 1))
    assert book.close_until(60 * 10**9) == []


@pytest.mark.parametrize(
    "message",
    [
        {"T": "c", "S": "AAA", "t": 1, "oi": 3, "ci": 4, "cp": -1.0, "cs": 1},
        {"T": "c", "S": "AAA", "t": 1, "ci": 4, "cp": 1.0, "cs": 1},
        {"T": "c", "S": "AAA", "t": 1, "oi": 3, "ci": "4", "cp": 1.0, "cs": 1},
        {"T": "x", "S": "AAA", "t": 1, "i": None},
        {"T": "x", "t": 1, "i": 3},
        {"T": "x", "S": "AAA", "i": True, "t": 1},
    ],
)
def test_one_that_nobody_can_read_is_counted_and_changes_nothing(message):
    changes = []
    handler = RealtimeDataHandler(["AAA"], SimulatedClock(10**9), print, on_change=changes.append)
    handler.take([message])
    handler.pump()
    assert (handler.bad.total, changes) == (1, [])


def test_a_desk_knows_no_last_trade_after_it_was_cancelled():
    with told() as one:
        clock, wall = WallClock(), WallClock()
        live = SimpleNamespace(factor=1.0, now_ns=clock.now_ns, monotonic_ns=wall.monotonic_ns)
        sightings = Sightings(one.venue.scene.scales, live)

        def ticks():
            return sightings.look(["AAA"], watched=True)["AAA"].trade_ticks

        px_ticks = one.venue.scene.scales["AAA"].px_ticks

        with heard(one, sightings.put, trades=["AAA"]):
            one.step()
            assert until(lambda: ticks() == px_ticks(Decimal(100)))
            one.say("correction", symbol="AAA", id=3, price="101.5", size=1)
            one.say("correction", symbol="AAA", id=4, price="100.5", size=2500)
            assert until(lambda: ticks() == px_ticks(Decimal("100.5")))
            number = one.venue.data.tape.prints("AAA").id[3]
            one.say("trade_cancel", symbol="AAA", id=int(number))
            assert until(lambda: ticks() == UNKNOWN)
    assert sightings.n_bad == 0


# --- what a socket may be asked for --------------------------------------------------------------


def refused(port, key=KEY, secret=SECRET, **subscribed):
    streams = AlpacaStreams(
        data_url=f"ws://127.0.0.1:{port}/v2/iex", key_id=Secret(key), secret=Secret(secret),
        clock=WallClock(), on_data=print, backoff_s=(5.0, 5.0),
    )  # fmt: skip
    streams.subscribe(**subscribed)
    streams.start()
    with pytest.raises(StreamNotReady) as why:
        streams.wait_ready(WAIT_S)
    assert streams.state["data"].refused
    assert streams.stop()
    return str(why.value)


@pytest.mark.parametrize("channel", ["trades", "quotes"])
def test_the_free_plan_gives_nobody_every_symbol(channel):
    with served(venue_by_hand(plan="free")) as port:
        said = refused(port, **{channel: ["*"]})
    assert "405 (symbol limit exceeded)" in said
    assert "every symbol (*)" in said


def test_every_symbol_of_bars_is_free():
    with told(plan="free") as one:
        frames = queue.Queue()
        with heard(one, frames.put, bars=["*"]):
            one.step()
            assert [message["S"] for message in frames.get(timeout=WAIT_S)] == ["AAA", "BBB"]


def test_keys_without_the_scope_of_data_are_refused_in_words():
    with served(venue_by_hand(scopes=SCOPES - {"data"})) as port:
        said = refused(port, bars=["AAA"])
    assert "411 (insufficient scope)" in said
    assert "give it the scope data" in said


def test_a_bearer_token_opens_the_data_socket_as_alpacas_key_oauth():
    venue = venue_by_hand()
    with served(venue) as port:
        one, frames = Told(venue, port), queue.Queue()
        streams = AlpacaStreams(
            data_url=f"{one.ws}/v2/iex", key_id=Secret("oauth"), secret=Secret(OAUTH_TOKEN),
            clock=WallClock(), on_data=frames.put,
        )  # fmt: skip
        streams.subscribe(bars=["AAA"])
        streams.start()
        streams.wait_ready(WAIT_S)
        one.step()
        assert frames.get(timeout=WAIT_S)[0]["c"] == 100
        assert streams.stop()
        one.http.close()


def test_every_documented_error_of_the_data_socket_has_its_row():
    assert set(REFUSALS) == DOCUMENTED
    assert set(ERRORS) == DOCUMENTED - {412, 413}  # of options, which this venue does not have


def test_the_process_reads_scopes_from_its_file(tmp_path):
    file = tmp_path / "bars.parquet"
    bars_by_hand().to_pandas().drop(columns="ts_close").to_parquet(file)
    account = {"id": "a", "number": "1", "keys": [["K", "S"]]}
    words = words_of(file, accounts=[{**account, "scopes": ["data"]}])
    assert read_config(write(tmp_path, words)).accounts[0].scopes == {"data"}
    assert read_config(write(tmp_path, words_of(file, accounts=[account]))).accounts[0].scopes == (
        {"trading", "data", "account:write"}
    )
    for wrong in (["all"], "data", [["data"]]):
        words = words_of(file, accounts=[{**account, "scopes": wrong}])
        with pytest.raises(VenueConfigWrong, match="accounts"):
            read_config(write(tmp_path, words))
