"""A small account on exact integers: one symbol, ticks of a cent, whole shares."""

from decimal import Decimal

import pytest

from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.risk import Snapshot

USD = 10**8
SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))
NOON_NS = 1_704_214_800_000_000_000


@pytest.fixture
def make_order():
    def make(lots=1, side=Side.BUY, kind=OrderType.MARKET, **terms):
        name = terms.pop("id", f"o{side}{lots}{kind}")
        return Order(name, "s", "AAA", side, lots, kind, TimeInForce.DAY, NOON_NS, SCALE)._replace(
            **terms
        )

    return make


@pytest.fixture
def make_snapshot():
    """Equity 10,000 USD, the symbol at 100 USD; ``held`` shares are part of gross and net."""

    def make(held=0, buys=0, sells=0, **terms):
        px = 100 * USD
        worst = max(abs(held), abs(held + buys), abs(held - sells))
        base = Snapshot(
            now_ns=NOON_NS, scale=SCALE, lots=held, open_buy_lots=buys, open_sell_lots=sells,
            cash_quanta=10_000 * USD - held * px, equity_quanta=10_000 * USD,
            gross_quanta=abs(held) * px, net_quanta=held * px, ref_ticks=10_000, ref_ns=NOON_NS,
            multiplier=1.0, open_gross_quanta=(worst - abs(held)) * px,
            open_buy_quanta=buys * px, open_sell_quanta=sells * px,
            average_volume_lots=10**6, recent_ticks=(10_000,) * 20,
        )  # fmt: skip
        return base._replace(**terms)

    return make
