# ruff: noqa: ARG001 - every control has one signature, whatever it reads
"""The controls that need a live desk, each a pure function of an order and a ``LiveState``.

``control(order, live, reducing, limits)`` returns "" when the order may pass, else what it met.
Written to pass only what is known: a field that is -1, None or no int refuses, and so does a
control that raises. Controls marked "O" in the catalogue let an order that only reduces
risk pass; ``reducing`` is decided by the risk manager. All controls run for every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mqd.core.clock import iso
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.risk.live_state import LiveLimits, LiveState, SymbolLive
from mqd.risk.verdict import Refusal, RefusalCode

Judge = Callable[[Order, LiveState, bool, LiveLimits], str]
LiveProvider = Callable[[], "LiveState | None"]

COLLARS: Final = ((25, 5_000_000), (3, 10_000_000), (0, 20_000_000))
"""From a price on (USD), how far from the reference a limit may lie, in 1e-8 of it."""
_AT_CLOSE: Final = frozenset({TimeInForce.DAY, TimeInForce.OPG})
_AT_ONCE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK, TimeInForce.CLS})


class LiveControl(NamedTuple):
    """One control: its number in the catalogue, what it refuses with, how it judges."""

    number: int
    name: str
    code: RefusalCode
    judge: Judge


def _known(value: object) -> bool:
    """Whether a number is known: an int that is not negative."""
    return type(value) is int and value >= 0


def _is(flag: object, wanted: int) -> bool:
    return isinstance(flag, int) and flag == wanted


def _within(value: int | None, most: int) -> bool:
    return value is not None and _known(value) and value <= most


def _s(ns: object) -> str:
    """Return a span in seconds for a sentence."""
    return f"{ns // 1_000_000 / 1000:g} s" if isinstance(ns, int) and ns >= 0 else "not known"


# --- 1, 26, 29: every order -----------------------------------------------------------------------


def bound_account(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """26: mode, endpoint, keys and account agreed a moment ago; equity lies in its band."""
    if not _is(live.bound, 1):
        return "mode, endpoint, keys and account do not agree"
    if not _within(live.bound_age_ns, limits.bound_age_ns_max):
        return f"the binding was checked {_s(live.bound_age_ns)} ago"
    low, equity, high = live.equity_low_quanta, live.equity_quanta, live.equity_high_quanta
    if low is None or equity is None or high is None:
        return "equity or its band is not known"
    if not (_known(low) and _known(equity) and _known(high) and low <= equity <= high):
        return f"equity of {equity} quanta is outside the account's band"
    return ""


def started(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """29: nothing is sent before start-up has finished."""
    return "" if _is(live.started, 1) else "start-up is not finished"


def tradable_asset(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """1: a known tradable asset; whole units where it is not fractionable."""
    asset = live.symbol(order.symbol)
    if not _within(asset.asset_age_ns, limits.asset_age_ns_max):
        return f"the asset's flags are {_s(asset.asset_age_ns)} old"
    if not _is(asset.tradable, 1):
        return "the asset is not known to be tradable"
    if order.qty % 1 and not _is(asset.fractionable, 1):
        return f"{order.qty} is no whole quantity and the asset is not fractionable"
    return ""


def price_collar(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """2: a limit lies near a price that is known now; twice as far for a reduction.

    Reference: the middle of the quote or the last trade, whichever is newer, when it is fresh
    (after a close: was so then) and the quote not crossed; for a reduction of any age. A stop
    limit is measured from its own stop. (With the newer one, time that passes never lets an
    order through.)
    """
    held = live.symbol(order.symbol)
    doubled = order.stop_ticks * 2
    if order.type not in (OrderType.STOP, OrderType.STOP_LIMIT):
        fresh_ns = limits.quote_age_ns_max + _since_close_ns(live)
        doubled = _reference(held, reducing, fresh_ns, limits)
    if doubled <= 0:
        return "no fresh price is known"
    if order.type not in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        return ""
    units = _collar_units(doubled, order.scale) * (2 if reducing else 1)
    away = (2 * order.limit_ticks - doubled) * int(order.side)
    if away * BPS_UNITS > doubled * units:
        return f"the limit of {order.limit_px} is over {units / BPS_UNITS:g} beyond the price"
    return ""


def _since_close_ns(live: LiveState) -> int:
    """Return how long ago the last session ended, 0 while one runs or when that is not known."""
    now, opens, last = live.now_ns, live.open_ns, live.last_close_ns
    if now is None or opens is None or last is None:
        return 0
    closed = _known(now) and _known(opens) and _known(last) and last <= now < opens
    return now - last if closed else 0


def _reference(held: SymbolLive, reducing: bool, fresh_ns: int, limits: LiveLimits) -> int:
    """Return twice the reference price in ticks, 0 when there is none."""
    crossed = not _within(held.crossed_ns, limits.crossed_ns_max)
    quote = _aged(held.quote_age_ns, held.bid_ticks, held.ask_ticks)
    if crossed and quote is not None:
        if not reducing:
            return 0
        quote = None
    trade = _aged(held.trade_age_ns, held.trade_ticks, held.trade_ticks)
    known = [one for one in (quote, trade) if one is not None]
    if not known:
        return 0
    age_ns, doubled = min(known, key=lambda one: one[0])
    return doubled if reducing or age_ns <= fresh_ns else 0


def _aged(age_ns: int | None, one: int | None, other: int | None) -> tuple[int, int] | None:
    """Return a price's age and twice its ticks, None when one of them is not known."""
    if age_ns is None or one is None or other is None:
        return None
    if not (_known(age_ns) and _known(one) and _known(other) and one > 0 and other > 0):
        return None
    return age_ns, one + other


def _collar_units(doubled_ticks: int, scale: Scale) -> int:
    price = doubled_ticks * scale.tick
    return next(units for since, units in COLLARS if price >= 2 * since)


# --- 16, 17, 21, 24, 29: opening orders -----------------------------------------------------------


def trading_hours(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """16: opening from a minute after the open to 5 minutes before the close, reducing in all
    of the session; what was decided at a close queues, as a DAY order, for the next open."""
    if not _within(live.clock_age_ns, limits.clock_age_ns_max):
        return f"the venue's clock was read {_s(live.clock_age_ns)} ago"
    if not _within(live.skew_ns, limits.skew_ns_max):
        return f"our clock is {_s(live.skew_ns)} from the venue's"
    if not _is(live.sources_agree, 1):
        return "the calendar and the venue name different sessions"
    now, opens, closes, last = live.now_ns, live.open_ns, live.close_ns, live.last_close_ns
    if now is None or opens is None or closes is None:
        return "the session is not known"
    if not (_known(now) and _known(opens) and _known(closes) and opens < closes and now < closes):
        return "the session is not known"
    if now < opens:
        return _queued(order, (now, opens, last), reducing, limits)
    return _in_session(order, (now, opens, closes), reducing, limits)


def _in_session(order: Order, at: tuple[int, int, int], reducing: bool, limits: LiveLimits) -> str:
    now, opens, closes = at
    if order.time_in_force is TimeInForce.OPG:
        return "an on-open order came after the open"
    on_close = order.time_in_force is TimeInForce.CLS
    if on_close and closes - now < limits.cls_before_close_ns_min:
        return f"an on-close order came {_s(closes - now)} before the close"
    if reducing:
        return ""
    if now - opens < limits.after_open_ns_min:
        return f"{_s(now - opens)} after the open"
    if closes - now < limits.before_close_ns_min:
        return f"{_s(closes - now)} before the close"
    return ""


def _queued(
    order: Order, at: tuple[int, int, int | None], reducing: bool, limits: LiveLimits
) -> str:
    now, opens, last = at
    if last is None or not (_known(last) and last <= order.decided_ns <= now):
        return f"the market is closed until {iso(opens)}"
    if now - last > limits.queue_after_close_ns_max:
        return f"the market is closed until {iso(opens)}, and the close was {_s(now - last)} ago"
    if opens - now < limits.opg_before_open_ns_min:
        return f"{_s(opens - now)} before the open"
    lasting = order.time_in_force in _AT_CLOSE
    if lasting or (reducing and order.time_in_force not in _AT_ONCE):
        return ""
    return f"a {order.time_in_force} order does not queue for the next open"


def trading_halt(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """17: no opening in a halt, a pause or a limit state, nor within 60 s after one, nor before a
    two-sided quote; reductions pass, but not as market orders."""
    why = _halt(live.symbol(order.symbol), live, limits)
    if reducing and order.type is not OrderType.MARKET:
        return ""
    return why


def _halt(held: SymbolLive, live: LiveState, limits: LiveLimits) -> str:
    if not _within(live.status_age_ns, limits.status_age_ns_max):
        return f"the feed of trading statuses was silent for {_s(live.status_age_ns)}"
    if not _is(live.market_halted, 0):
        return "trading is halted market-wide, or nobody knows"
    if not _is(held.halted, 0):
        return "the symbol is halted, or nobody knows"
    if not _is(held.limit_state, 0):
        return "the quote stands at a limit band, or nobody knows"
    resumed = held.resumed_ns
    if resumed is None or not _known(resumed):
        return "whether trading resumed today is not known"
    if resumed and (resumed < limits.resumed_ns_min or not _is(held.two_sided, 1)):
        return f"trading resumed {_s(resumed)} ago"
    return ""


def short_sale(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """21: shorts only where switched on, in whole shares that are easy to borrow; under the
    price test only above the best bid. A sell that can go below flat is a short."""
    if reducing or order.side is not Side.SELL:
        return ""
    held = live.symbol(order.symbol)
    if not _is(limits.shorts, 1):
        return "shorts are switched off"
    if not _within(held.asset_age_ns, limits.asset_age_ns_max):
        return f"the asset's flags are {_s(held.asset_age_ns)} old"
    if not (_is(held.shortable, 1) and _is(held.easy_to_borrow, 1)):
        return "the asset is not known to be shortable and easy to borrow"
    if order.qty % 1:
        return f"{order.qty} is no whole quantity"
    if _is(held.restricted, 0):
        return ""
    bid = held.bid_ticks
    fresh = _within(held.quote_age_ns, limits.quote_age_ns_max)
    if not _is(held.restricted, 1) or bid is None or not _known(bid) or not fresh:
        return "the short-sale price test, or the best bid, is not known"
    if order.type is OrderType.LIMIT and order.limit_ticks > bid > 0:
        return ""
    return "under the short-sale price test only a limit above the best bid is sent"


def connected(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """24: no opening while stream or interface are silent or the watchdog is gone; what opens
    ends with the day, for no venue cancels it when we vanish."""
    if reducing:
        return ""
    if not _within(live.stream_silent_ns, limits.silence_ns_max):
        return f"the order stream was silent for {_s(live.stream_silent_ns)}"
    if not _within(live.api_silent_ns, limits.silence_ns_max):
        return f"the venue's interface was silent for {_s(live.api_silent_ns)}"
    if not _is(limits.watchdog, 0) and not _within(live.heartbeat_ns, limits.heartbeat_ns_max):
        return f"the watchdog was silent for {_s(live.heartbeat_ns)}"
    if not _is(limits.day_only, 0) and order.time_in_force is TimeInForce.GTC:
        return "an opening order must end with the day"
    return ""


def reconciled(order: Order, live: LiveState, reducing: bool, limits: LiveLimits) -> str:
    """29: a symbol with an open difference may only reduce; so may all while an order's fate is
    not known or the last comparison is old."""
    if reducing:
        return ""
    if not _is(live.symbol(order.symbol).open_break, 0):
        return "our books and the venue's differ here, or were not compared"
    if not _within(live.reconciled_age_ns, limits.reconciled_age_ns_max):
        return f"books and venue were compared {_s(live.reconciled_age_ns)} ago"
    if not _is(live.n_unknown, 0):
        return f"{live.n_unknown} order(s) whose fate is not known"
    return ""


C = RefusalCode
CONTROLS: Final = (
    LiveControl(26, "mode binding", C.MODE_UNBOUND, bound_account),
    LiveControl(29, "start-up", C.NOT_STARTED, started),
    LiveControl(1, "tradable asset", C.NOT_TRADABLE, tradable_asset),
    LiveControl(2, "price collar", C.PRICE_COLLAR, price_collar),
    LiveControl(16, "hours", C.HOURS, trading_hours),
    LiveControl(17, "halt", C.TRADING_HALT, trading_halt),
    LiveControl(21, "short sale", C.SHORT_SALE, short_sale),
    LiveControl(24, "cancel on disconnect", C.DISCONNECTED, connected),
    LiveControl(29, "reconciliation", C.UNRECONCILED, reconciled),
)
"""Every live control; there is no switch that leaves one out."""


def judge_live(
    order: Order,
    live: LiveState | None,
    reducing: bool,
    limits: LiveLimits,
    controls: Sequence[LiveControl] = CONTROLS,
) -> list[Refusal]:
    """Return why an order is refused: every control is asked, whatever the others say."""
    state = LiveState() if live is None else live
    refusals = []
    for control in controls:
        try:
            met: object = control.judge(order, state, reducing, limits)
        except Exception as error:  # noqa: BLE001 - whatever fails here refuses
            met = f"it raised {type(error).__name__}: {error}"
        if met != "":
            name = f"{control.name} (control {control.number})"
            refusals.append(Refusal(control.code, name, str(met)))
    return refusals


def fill_breaches(
    order: Order, last_ticks: int, cum_lots: int, lots_after: int, qty_max: float
) -> list[str]:
    """30: return what a fill broke: the order's limit or quantity, the position's limit.

    ``last_ticks`` is the execution's price, ``cum_lots`` all that the order has filled,
    ``lots_after`` the signed position after it, ``qty_max`` shares (``position_qty_max``).
    """
    found = []
    if not (_known(last_ticks) and last_ticks > 0):
        found.append(f"it has no price ({last_ticks} ticks)")
    elif order.limit_ticks and (last_ticks - order.limit_ticks) * int(order.side) > 0:
        found.append(f"it is beyond the limit of {order.limit_px}")
    if not (_known(cum_lots) and cum_lots <= order.lots):
        found.append(f"{cum_lots} of {order.lots} lots have filled")
    shares = abs(lots_after) * float(order.scale.lot)
    grows = lots_after * int(order.side) > 0
    if grows and not shares <= qty_max:
        found.append(f"the position is {shares:g} shares, {qty_max:g} are allowed")
    return [f"a fill of {order.client_order_id} on {order.symbol}: {what}" for what in found]
