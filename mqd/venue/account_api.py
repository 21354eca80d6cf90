"""The account over REST: its figures, its configuration, its activities."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mqd.core.money import INT64_MAX
from mqd.venue import query as read
from mqd.venue.activity import KNOWN, OTHERS, TRADES
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import unprocessable
from mqd.venue.submit import buying_power, multiplier, reserved
from mqd.venue.text import amount, day_of, stamp

PAGE_MAX = 100


def get_account(book: AccountBook, _: Request) -> Answer:
    """GET /v2/account."""
    return Answer(200, account_json(book))


def account_json(book: AccountBook) -> dict[str, Any]:
    """Return the account's figures; money is exact and may have more than two decimals."""
    account, ledger = book.broker.account(), book.broker.account_book
    scale = account.quantum
    long_value = (account.gross_quanta + account.net_quanta) // 2 * scale
    short_value = (account.net_quanta - account.gross_quanta) // 2 * scale
    free = max(buying_power(book) - reserved(book), Decimal(0))
    equity, cash = amount(account.equity), amount(account.cash)
    maintenance = account.gross_quanta * scale * Decimal("0.3")
    initial = account.gross_quanta * scale / max(ledger.multiplier, 1)
    margin = ledger.kind != "cash"
    return {
        "id": book.spec.id,
        "account_number": book.spec.number,
        "status": "ACTIVE",
        "crypto_status": "ACTIVE" if book.scene.crypto else "INACTIVE",
        "options_approved_level": 0,
        "options_trading_level": 0,
        "currency": "USD",
        "buying_power": amount(free),
        "regt_buying_power": amount(free),
        "effective_buying_power": amount(free),
        "non_marginable_buying_power": amount(account.settled_quanta * scale),
        "options_buying_power": "0",
        "cash": cash,
        "accrued_fees": "0",
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": amount(book.last_equity),
        "multiplier": str(multiplier(book)),
        "shorting_enabled": margin and book.scene.shortable,
        "long_market_value": amount(long_value),
        "short_market_value": amount(short_value),
        "position_market_value": amount(account.gross_quanta * scale),
        "initial_margin": amount(initial),
        "maintenance_margin": amount(maintenance),
        "last_maintenance_margin": "0",
        "sma": "0",
        "balance_asof": day_of(book.scene.now_ns),
        "crypto_tier": 0,
        "intraday_adjustments": "0",
        "pending_reg_taf_fees": "0",
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": book.configurations["suspend_trade"],
        "created_at": stamp(book.scene.market.starts_ns),
        "admin_configurations": {},
        "user_configurations": None,
    }


def get_configurations(book: AccountBook, _: Request) -> Answer:
    """GET /v2/account/configurations."""
    return Answer(200, dict(book.configurations))


_CHOICES: dict[str, tuple[Any, ...]] = {
    "dtbp_check": (None, "both", "entry", "exit"),
    "pdt_check": (None, "both", "entry", "exit"),
    "trade_confirm_email": ("all", "none"),
    "max_margin_multiplier": ("1", "2", "4"),
    "max_options_trading_level": (None, 0, 1, 2, 3),
}


def patch_configurations(book: AccountBook, request: Request) -> Answer:
    """PATCH /v2/account/configurations: any subset of the fields."""
    changes = {}
    for name, value in (request.body or {}).items():
        if name not in book.configurations:
            continue
        known = _CHOICES.get(name, (True, False))
        if isinstance(value, bool) is not (known == (True, False)) or value not in known:
            raise unprocessable(f"invalid {name}")
        changes[name] = value
    book.configurations.update(changes)
    return Answer(200, dict(book.configurations))


def get_activities(book: AccountBook, request: Request) -> Answer:
    """GET /v2/account/activities and /v2/account/activities/{type}."""
    query = request.query
    wanted = _kinds(request)
    order_id = query.get("order_id")
    entries = [
        one
        for one in book.activities
        if (wanted is None or one["activity_type"] in wanted)
        and (not order_id or one.get("order_id") == order_id)
    ]
    entries = _within(entries, request)
    if read.one_of(query, "direction", ("desc", "asc")) == "desc":
        entries.reverse()
    size = read.whole(query, "page_size", PAGE_MAX, PAGE_MAX)
    token = query.get("page_token")
    if token:
        places = [place for place, one in enumerate(entries) if one["id"] == token]
        if not places:
            raise unprocessable("invalid page_token")
        entries = entries[places[0] + 1 :]
    return Answer(200, entries[:size])


def _kinds(request: Request) -> frozenset[str] | None:
    """Return the types asked for, None for all."""
    asked = [request.argument] if request.argument else read.words(request.query, "activity_types")
    for word in asked:
        if word not in KNOWN:
            raise unprocessable(f"invalid activity type: {word}")
    category = request.query.get("category")
    if category and category not in ("trade_activity", "non_trade_activity"):
        raise unprocessable(f"invalid category: {category}")
    if category and asked:
        raise unprocessable("category and activity_types cannot both be given")
    if category:
        return TRADES if category == "trade_activity" else OTHERS
    return frozenset(asked) if asked else None


def _within(entries: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """Return the entries of a date, or strictly after one instant and before another."""
    query = request.query
    day = query.get("date")
    if day:
        read.day(query, "date")
        return [one for one in entries if _date(one) == day[:10]]
    after = read.instant(query, "after")
    until = read.instant(query, "until")
    if after is None and until is None:
        return entries
    first, last = -1 if after is None else after, INT64_MAX if until is None else until
    return [one for one in entries if first < _instant(one) < last]


def _instant(entry: dict[str, Any]) -> int:
    return read.instant_ns(entry.get("transaction_time") or entry["created_at"])


def _date(entry: dict[str, Any]) -> str:
    return str(entry.get("date") or day_of(_instant(entry)))
