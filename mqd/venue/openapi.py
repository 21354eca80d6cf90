"""The venue's routes as its OpenAPI specification names them: parameters, bodies, answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from mqd.venue.words import SHARE_RATE, TRAIL_RATE

_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_AMOUNT: dict[str, Any] = {"type": ["string", "number", "null"]}
_SIDE = {"type": "string", "enum": ["buy", "sell"]}
_LEG = {
    "type": ["object", "null"], "properties": {"limit_price": _AMOUNT, "stop_price": _AMOUNT},
}  # fmt: skip
_ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["symbol", "side", "type", "time_in_force"],
    "properties": {
        "symbol": _TEXT, "qty": _AMOUNT, "notional": _AMOUNT, "side": _SIDE,
        "type": {"enum": ["market", "limit", "stop", "stop_limit", "trailing_stop"]},
        "time_in_force": {"enum": ["day", "gtc", "opg", "cls", "ioc", "fok"]},
        "limit_price": _AMOUNT, "stop_price": _AMOUNT, "trail_price": _AMOUNT,
        TRAIL_RATE: _AMOUNT, "extended_hours": {"type": ["boolean", "null"]},
        "client_order_id": {"type": ["string", "null"], "maxLength": 128},
        "order_class": {"enum": ["", "simple", "bracket", "oco", "oto", None]},
        "take_profit": _LEG, "stop_loss": _LEG, "position_intent": {"type": ["string", "null"]},
    },
}  # fmt: skip
_REPLACEMENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "qty": _AMOUNT, "time_in_force": {"type": ["string", "null"]}, "limit_price": _AMOUNT,
        "stop_price": _AMOUNT, "trail": _AMOUNT, "client_order_id": {"type": ["string", "null"]},
    },
}  # fmt: skip
_CONFIGURATION: dict[str, Any] = {
    "type": "object",
    "properties": {"suspend_trade": _FLAG, "no_shorting": _FLAG, "trade_confirm_email": _TEXT},
}


class Operation(NamedTuple):
    """One route: what FastAPI and its specification need to know."""

    method: str
    path: str
    name: str
    summary: str
    extra: dict[str, Any]
    responses: dict[int | str, dict[str, Any]]


def _operation(
    method: str,
    path: str,
    summary: str,
    statuses: tuple[int, ...],
    query: dict[str, dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> Operation:
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in (query or {}).items()
    ]
    if "{" in path:
        name = path[path.index("{") + 1 : path.index("}")]
        parameters.append({"name": name, "in": "path", "required": True, "schema": _TEXT})
    extra: dict[str, Any] = {"parameters": parameters}
    if body is not None:
        content = {"application/json": {"schema": body}}
        extra["requestBody"] = {"required": True, "content": content}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _DESCRIPTIONS[status]} for status in (*statuses, 400, 401)
    }
    name = f"{method.lower()}_{path.strip('/').translate(_NAME)}"
    return Operation(method, path, name, summary, extra, responses)


_NAME = str.maketrans({"/": "_", "{": "", "}": "", ":": "_"})
_DESCRIPTIONS = {
    200: "Done", 204: "Accepted", 207: "One entry each", 400: "No JSON object",
    401: "Wrong keys", 403: "Forbidden", 404: "Not found", 422: "Refused",
}  # fmt: skip
_ACTIVITY = {
    "activity_types": _TEXT, "category": _TEXT, "order_id": _TEXT, "date": _TEXT, "after": _TEXT,
    "until": _TEXT, "direction": _TEXT, "page_size": {"type": "integer"}, "page_token": _TEXT,
}  # fmt: skip
_ORDERS = {
    "status": _TEXT, "limit": {"type": "integer"}, "after": _TEXT, "until": _TEXT,
    "direction": _TEXT, "nested": _FLAG, "symbols": _TEXT, "side": _TEXT, "asset_class": _TEXT,
    "after_order_id": _TEXT, "before_order_id": _TEXT,
}  # fmt: skip
_HISTORY = {
    "period": _TEXT, "timeframe": _TEXT, "start": _TEXT, "end": _TEXT,
    "intraday_reporting": _TEXT, "pnl_reset": _TEXT, "cashflow_types": _TEXT,
}  # fmt: skip


def operations() -> list[Operation]:
    """Return the trading routes and those of market data."""
    one = _operation
    return [
        one("GET", "/v2/account", "The account.", (200,)),
        one("GET", "/v2/account/configurations", "The account's configuration.", (200,)),
        one("PATCH", "/v2/account/configurations", "Change the configuration.", (200, 403, 422),
            body=_CONFIGURATION),
        one("GET", "/v2/account/activities", "Activities.", (200, 422), _ACTIVITY),
        one("GET", "/v2/account/activities/{activity_type}", "Activities of one type.",
            (200, 422), _ACTIVITY),
        one("GET", "/v2/account/portfolio/history", "The account's worth over time.", (200, 422),
            _HISTORY),
        one("GET", "/v2/orders", "Orders.", (200, 404, 422), _ORDERS),
        one("POST", "/v2/orders", "Submit an order.", (200, 403, 422), body=_ORDER),
        one("DELETE", "/v2/orders", "Cancel every order.", (207, 403)),
        one("GET", "/v2/orders:by_client_order_id", "An order by the client's id.", (200, 404),
            {"client_order_id": _TEXT, "nested": _FLAG}),
        one("GET", "/v2/orders/{order_id}", "An order.", (200, 404, 422), {"nested": _FLAG}),
        one("PATCH", "/v2/orders/{order_id}", "Replace an order.", (200, 403, 404, 422),
            body=_REPLACEMENT),
        one("DELETE", "/v2/orders/{order_id}", "Cancel an order.", (204, 403, 404, 422)),
        one("GET", "/v2/positions", "Positions.", (200,)),
        one("DELETE", "/v2/positions", "Close every position.", (207, 403),
            {"cancel_orders": _FLAG}),
        one("GET", "/v2/positions/{symbol}", "A position.", (200, 404)),
        one("DELETE", "/v2/positions/{symbol}", "Close a position.", (200, 403, 404, 422),
            {"qty": _TEXT, SHARE_RATE: _TEXT}),
        one("GET", "/v2/assets", "Assets.", (200, 422),
            {"status": _TEXT, "asset_class": _TEXT, "exchange": _TEXT, "attributes": _TEXT}),
        one("GET", "/v2/assets/{symbol}", "An asset.", (200, 404)),
        one("GET", "/v2/calendar", "Sessions.", (200, 422),
            {"start": _TEXT, "end": _TEXT, "date_type": _TEXT}),
        one("GET", "/v2/clock", "The venue's clock.", (200,)),
        one("GET", "/v3/clock", "The phase of each market.", (200,),
            {"markets": _TEXT, "time": _TEXT}),
        one("GET", "/v3/calendar/{market}", "Sessions of a market, extended hours too.", (200,),
            {"start": _TEXT, "end": _TEXT, "timezone": _TEXT}),
        *_data_operations(),
    ]  # fmt: skip


_PAGES = {
    "symbols": _TEXT, "start": _TEXT, "end": _TEXT, "limit": {"type": "integer"}, "feed": _TEXT,
    "asof": _TEXT, "currency": _TEXT, "page_token": _TEXT, "sort": {"enum": ["asc", "desc"]},
}  # fmt: skip
_LATEST = {"symbols": _TEXT, "feed": _TEXT, "currency": _TEXT}
_ACTIONS = {
    "symbols": _TEXT, "cusips": _TEXT, "types": _TEXT, "region": _TEXT, "start": _TEXT,
    "end": _TEXT, "ids": _TEXT, "limit": {"type": "integer"}, "page_token": _TEXT,
    "sort": {"enum": ["asc", "desc"]}, "data_quality": _TEXT,
}  # fmt: skip


def _data_operations() -> list[Operation]:
    """Return the market data routes."""
    bars = {**_PAGES, "timeframe": _TEXT, "adjustment": _TEXT}
    return [
        _operation("GET", path, summary, (200, 403), query)
        for path, summary, query in (
            ("/v2/stocks/bars", "Bars, in pages.", bars),
            ("/v2/stocks/quotes", "Quotes, in pages.", _PAGES),
            ("/v2/stocks/trades", "Trades, in pages.", _PAGES),
            ("/v2/stocks/bars/latest", "The newest bars.", _LATEST),
            ("/v2/stocks/quotes/latest", "The newest quotes.", _LATEST),
            ("/v2/stocks/trades/latest", "The newest trades.", _LATEST),
            ("/v2/stocks/snapshots", "What is newest of each symbol.", _LATEST),
            ("/v1/corporate-actions", "Splits and dividends.", _ACTIONS),
        )
    ]
