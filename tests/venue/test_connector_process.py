"""The connector, its streams and the venue's own process: orders over real sockets, with faults."""

import threading
from decimal import Decimal
from pathlib import Path

import pytest

from mqd.adapters.alpaca.binding import bind
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.errors import BindingRefused
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import WallClock
from mqd.core.execution_report import ReportKind
from mqd.core.money import Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce
from mqd.live.control import Control
from mqd.live.folder import account_sha256
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess

QUANTUM = Decimal("1e-8")
MSFT = Scale.of(Decimal("0.0001"), Decimal(1), QUANTUM)
WORDS = {
    "data": "datasets/equity_minute.parquet", "symbols": ["MSFT"], "start": "2022-05-19",
    "end": "2022-05-20", "adjust": "split", "calendar": "XNYS", "cash": "100000", "costs": None,
    "fills": {}, "multiplier": 2, "pace": "step", "buying_power": "refuse",
}  # fmt: skip
FAULTS = [
    {"name": "gateway_timeout_after_accept", "at": 1}, {"name": "duplicate_event", "at": 3},
    {"name": "reorder_event", "at": 5}, {"name": "large_frame", "at": 7},
]  # fmt: skip


class Bench:
    """A venue's process with a line to it."""

    def __init__(self, folder, faults):
        self.venue = VenueProcess(folder, {**WORDS, "faults": faults})
        keys = Keys(Secret(self.venue.key_id), Secret(self.venue.secret))
        self.session = AlpacaSession(self.venue.url, keys, WallClock())
        self.connector = AlpacaBrokerConnector(self.session, {"MSFT": MSFT}, WallClock(), QUANTUM)
        self.control = Control(self.venue.port, self.venue.token)
        self.streams = AlpacaStreams(
            f"ws://127.0.0.1:{self.venue.port}", key_id=keys.key_id, secret=keys.secret,
            on_update=self.connector.take_update, on_data=lambda _messages: None,
            clock=WallClock(),
        )  # fmt: skip
        self.streams.subscribe(bars=["MSFT"])
        self.streams.start()
        self.streams.wait_ready(20)

    def close(self):
        self.streams.stop()
        self.control.close()
        self.session.close()
        self.venue.stop()

    def hear(self):
        """Wait for the updates that the venue has told, and return all reports."""
        told = self.control.state().updates
        waiting = threading.Event()
        for _ in range(500):
            if self.connector.n_updates >= told:
                break
            waiting.wait(0.01)
        assert self.connector.n_updates >= told
        return self.connector.reports()

    def step(self):
        self.control.begin()
        for phase in ("open", "within", "close"):
            self.control.phase(phase)
        return self.hear()


@pytest.fixture
def bench(tmp_path):
    made = []

    def build(faults=None):
        made.append(Bench(tmp_path, faults))
        return made[-1]

    yield build
    for one in made:
        one.close()


def order(name="mq1-a", lots=10, side=Side.BUY, kind=OrderType.MARKET, **more):
    return Order(
        name, "s", "MSFT", side, lots, kind, TimeInForce.DAY, 0, MSFT, Reason.EVENT
    )._replace(**more)  # fmt: skip


def test_orders_live_through_faults_on_real_sockets(bench):
    bench = bench({"faults": FAULTS})
    bench.step()
    entry = order("mq1-g", order_class=OrderClass.BRACKET, group="mq1-g")
    leg = entry._replace(side=Side.SELL, parent="mq1-g", reducing=True)
    target = leg._replace(client_order_id="mq1-g-tp", type=OrderType.LIMIT, limit_ticks=3_000_000)
    stop = leg._replace(client_order_id="mq1-g-sl", type=OrderType.STOP, stop_ticks=2_000_000)
    bench.connector.submit(entry, (target, stop))
    reports = bench.hear()
    unknown = {one.client_order_id for one in reports if one.kind is ReportKind.OUTCOME_UNKNOWN}
    assert unknown == {"mq1-g", "mq1-g-tp", "mq1-g-sl"}
    bench.connector.query("mq1-g-sl")
    found = [one for one in bench.hear() if one.kind is ReportKind.FOUND]
    assert sorted(one.client_order_id for one in found) == ["mq1-g", "mq1-g-sl", "mq1-g-tp"]
    bench.step()
    bench.connector.submit(order("mq1-x", 5, kind=OrderType.LIMIT, limit_ticks=2_000_000))
    bench.connector.cancel("mq1-x")
    bench.step()
    assert bench.connector.open_orders() == [target, stop]
    assert bench.connector.positions()["MSFT"].lots == 10
    fills = [one for one in bench.connector.activities() if one["activity_type"] == "FILL"]
    assert [one["qty"] for one in fills] == ["10"]
    assert bench.connector.foreign == {}


def test_the_rehearsals_account_is_bound_and_another_is_not(bench):
    bench = bench()
    words = {
        "mode": "rehearsal", "key_id": bench.session.key_id, "equity_usd": None,
        "clock": WallClock(),
    }  # fmt: skip
    bound = bind(bench.session, account_sha256=account_sha256(ACCOUNT_ID), **words)
    assert (bound.status, bound.equity) == ("ACTIVE", 100_000)
    assert bound.recheck() == bound
    with pytest.raises(BindingRefused, match="another account"):
        bind(bench.session, account_sha256=account_sha256("someone"), **words)
    bench.venue.stop()
    with pytest.raises(BindingRefused, match="the venue did not answer"):
        bound.recheck()


def test_no_process_shows_the_keys(bench, tmp_path):
    bench = bench()
    bench.step()
    bench.connector.submit(order(lots=1_000_000))
    (report,) = bench.connector.reports()
    assert report.text == "insufficient_funds: insufficient buying power"
    shown = [
        Path(f"/proc/{pid}/{file}").read_bytes().decode()
        for pid in ("self", bench.venue.pid)
        for file in ("cmdline", "environ")
    ]
    shown += [file.read_text() for file in tmp_path.iterdir()]
    assert (tmp_path / "venue.log").exists()
    assert not any(bench.venue.secret in text for text in [*shown, repr(report)])
