"""Events of orders told by hand, as the adapter reports them; and what a day's gains are.

The answers are those of tests/tables/alpaca_events.csv, and alpaca-py's own models.
"""

import csv
import warnings
from pathlib import Path

import pytest

from mqd.core.execution_report import ReportKind
from mqd.core.order import OrderStatus, OrderType
from mqd.venue.book import TOLD
from mqd.venue.notices import Notices
from tests.venue.test_connector import desk, order, px, server
from tests.venue.venue_bench import ask, market, step, venue_by_hand

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.trading.models import TradeUpdate

TABLE = Path(__file__).parents[1] / "tables" / "alpaca_events.csv"
ROWS = {row["event"]: row for row in csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines())}
__all__ = ["desk", "server"]


def resting(limit_px):
    return order("told", kind=OrderType.LIMIT, limit_ticks=px(limit_px))


@pytest.mark.parametrize("event", sorted(TOLD))
def test_what_is_told_of_an_order_is_reported_as_the_table_says(event, desk):
    one = desk()
    frames = []
    one.venue.on_update(lambda _, frame, __: frames.append(frame["data"]))
    one.send(resting("90"))
    one.hear()
    name = next(iter(one.book.by_client_id))
    Notices(one.venue).order({"client_order_id": name, "event": event})
    kinds = [kind for _, kind in one.hear()]
    row = ROWS[event]
    assert kinds == [ReportKind(row["kind"])]
    assert one.state("told").status == OrderStatus(row["after"])
    parsed = TradeUpdate(**frames[-1])
    assert (str(getattr(parsed.event, "value", parsed.event)), parsed.order.client_order_id) == (
        event, name,
    )  # fmt: skip


def test_an_order_that_the_venue_rejects_later_trades_no_more(desk):
    one = desk()
    one.send(resting("90"))
    name = next(iter(one.book.by_client_id))
    Notices(one.venue).order({"client_order_id": name, "event": "rejected"})
    one.step()
    assert one.state("told").status is OrderStatus.REJECTED
    assert not one.book.broker.open_orders()
    assert one.record(name).failed_ns == one.record(name).updated_ns > 0


def test_a_suspended_order_fills_when_the_simulator_fills_it(desk):
    one = desk()
    one.send(resting("101"))
    name = next(iter(one.book.by_client_id))
    Notices(one.venue).order({"client_order_id": name, "event": "suspended"})
    one.step()
    assert one.state("told").status is OrderStatus.FILLED
    assert one.record(name).status == "filled"


def test_a_day_begins_with_no_profit_unless_nothing_is_reset():
    """100 shares of AAA bought and still worth 100 each: the day before made 0, this one too."""
    venue = venue_by_hand()
    step(venue)
    venue.first.equity[-1] = (venue.first.equity[-1][0], venue.first.equity[-1][1] + 500)
    assert ask(venue, "POST", "/v2/orders", market()).status == 200
    while not step(venue)["ends_session"]:
        continue
    venue.first.equity[-1] = (venue.first.equity[-1][0], venue.first.equity[-1][1] + 300)
    step(venue)
    found = {}
    for reset in ("per_day", "no_reset"):
        query = {"timeframe": "1Min", "pnl_reset": reset, "start": "2024-03-03T00:00:00Z"}
        path = "/v2/account/portfolio/history"
        found[reset] = ask(venue, "GET", path, query=query).body["profit_loss"]
    assert found["per_day"] == [500, 0, 0, 0, 300, -300]
    assert found["no_reset"] == [500, 0, 0, 0, 300, 0]
