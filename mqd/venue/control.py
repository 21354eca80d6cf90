"""The control path: outside Alpaca's interface, it lets a rehearsal pace the venue."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mqd.venue.answer import Answer
from mqd.venue.errors import PhaseWrong, Refused
from mqd.venue.notices import Notices
from mqd.venue.text import stamp
from mqd.venue.venue import Venue
from mqd.venue.wire import body_of, response_of

_WRONG_TOKEN = Answer(401, {"message": "X-Control-Token is missing or wrong"})
_NO_OBJECT = Answer(400, {"message": "the body is no JSON object"})
_NOT_STEPPED = Answer(409, {"message": "this venue walks its steps by itself"})


def router(venue: Venue, token: str, *, stepped: bool) -> APIRouter:
    """Return the routes of the control path; ``stepped`` venues can be told to go on.

    Any venue can be told to say something: see ``Notices``.
    """
    phases: dict[str, Callable[[], dict[str, Any]]] = {
        "begin": venue.begin, "open": venue.open, "within": venue.within, "close": venue.close,
    }  # fmt: skip
    notices = Notices(venue)
    says: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "status": notices.status, "luld": notices.luld, "updated_bar": notices.updated_bar,
        "correction": notices.correction, "trade_cancel": notices.trade_cancel,
        "imbalance": notices.imbalance, "asset": notices.asset, "order": notices.order,
        "handshake": notices.handshake,
    }  # fmt: skip
    routes = APIRouter(include_in_schema=False)

    @routes.post("/_control/{phase}")
    async def advance(request: HttpRequest) -> Response:
        if not _knows(request, token):
            return response_of(_WRONG_TOKEN)
        say = says.get(request.path_params["phase"])
        if say is not None:
            body = await body_of(request)
            return response_of(_NO_OBJECT if body is None else _said(say, body))
        if not stepped:
            return response_of(_NOT_STEPPED)
        phase = phases.get(request.path_params["phase"])
        if phase is None:
            return response_of(Answer(404, {"message": "no such phase"}))
        try:
            return response_of(Answer(200, phase()))
        except PhaseWrong as wrong:
            return response_of(Answer(409, {"message": str(wrong)}))

    @routes.get("/_control/state")
    async def state(request: HttpRequest) -> Response:
        if not _knows(request, token):
            return response_of(_WRONG_TOKEN)
        return response_of(Answer(200, venue.state()))

    return routes


def _said(say: Callable[[dict[str, Any]], dict[str, Any]], body: dict[str, Any]) -> Answer:
    try:
        message = say(body)
    except Refused as refused:
        return Answer(refused.status, refused.body())
    if "t" in message:
        message = {**message, "t": stamp(message["t"])}
    return Answer(200, message)


def _knows(request: HttpRequest, token: str) -> bool:
    given = request.headers.get("x-control-token", "")
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())
