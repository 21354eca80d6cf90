"""A desk on which every live control passes, and texts that change one thing of it."""

from decimal import Decimal

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.risk.live_state import LiveLimits, LiveState, SymbolLive

SCALE = Scale.of(Decimal("0.01"), Decimal("0.01"), Decimal("1e-8"))
DAY_NS = 10 * NS_PER_DAY
LIMITS = LiveLimits(shorts=1)


def instant(text):
    """``09:31:00`` of the day, ``y16:00:00`` of the day before, ``60s``, ``nan`` or an int."""
    if text == "nan":
        return float("nan")
    if text.endswith("s"):
        return int(text[:-1]) * NS_PER_S
    if ":" not in text:
        return int(text)
    start = DAY_NS - NS_PER_DAY if text[0] == "y" else DAY_NS
    hours, minutes, seconds = map(int, text.removeprefix("y").split(":"))
    return start + (hours * 3600 + minutes * 60 + seconds) * NS_PER_S


SYMBOL = SymbolLive(
    bid_ticks=9999, ask_ticks=10001, quote_age_ns=NS_PER_S, crossed_ns=0, trade_ticks=10000,
    trade_age_ns=2 * NS_PER_S, halted=0, limit_state=0, resumed_ns=0, two_sided=0, restricted=0,
    tradable=1, fractionable=1, shortable=1, easy_to_borrow=1, asset_age_ns=NS_PER_S, open_break=0,
)  # fmt: skip
LIVE = LiveState(
    now_ns=instant("12:00:00"), clock_age_ns=NS_PER_S, skew_ns=0, sources_agree=1,
    open_ns=instant("09:30:00"), close_ns=instant("16:00:00"), last_close_ns=instant("y16:00:00"),
    status_age_ns=NS_PER_S, market_halted=0, stream_silent_ns=NS_PER_S, api_silent_ns=NS_PER_S,
    heartbeat_ns=NS_PER_S, bound=1, bound_age_ns=NS_PER_S, equity_quanta=500,
    equity_low_quanta=100, equity_high_quanta=900, started=1, reconciled_age_ns=NS_PER_S,
    n_unknown=0, symbols={"AAA": SYMBOL},
)  # fmt: skip


def live_order(lots=100, side=Side.BUY, kind=OrderType.LIMIT, limit=10000, stop=0,
               tif=TimeInForce.DAY, decided=None):  # fmt: skip
    """Return an order of 1 share at 100 USD, decided at noon."""
    decided = instant("12:00:00") if decided is None else decided
    limit = limit if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else 0
    terms = {"limit_ticks": limit, "stop_ticks": stop}
    return Order("o", "s", "AAA", side, lots, kind, tif, decided, SCALE, **terms)


def changed(text):
    """Return ``a=1 b=60s`` as a dict of numbers."""
    return {key: instant(value) for key, value in (pair.split("=") for pair in text.split())}


def order_of(text):
    """Return an order as a table writes it."""
    terms = dict(pair.split("=") for pair in text.split())
    made = {key: int(terms.pop(key)) for key in ("lots", "limit", "stop") if key in terms}
    if "side" in terms:
        made["side"] = Side[terms.pop("side").upper()]
    if "type" in terms:
        made["kind"] = OrderType(terms.pop("type"))
    if "tif" in terms:
        made["tif"] = TimeInForce(terms.pop("tif"))
    if "decided" in terms:
        made["decided"] = instant(terms.pop("decided"))
    assert not terms
    return live_order(**made)
