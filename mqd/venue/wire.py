"""From HTTP to the core and back: bodies parsed exactly, answers as JSON, faults carried out."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mqd.venue.answer import Answer
from mqd.venue.errors import Refused
from mqd.venue.fault_effects import Action
from mqd.venue.venue import Venue

BODY_BYTES_MAX = 1_000_000
ABORT = "mqd.abort"
CUT_S = 0.01
BAD_BODY = Answer(400, Refused(400, 40010000, "request body format is invalid").body())


def as_json(value: object) -> bytes:
    """Return a JSON text; an amount that is still exact goes out as a text."""
    return json.dumps(value, default=str, separators=(",", ":")).encode()


def response_of(answer: Answer) -> Response:
    """Return an answer as an HTTP response; a text body goes out as it is."""
    headers = dict(answer.headers)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    if isinstance(answer.body, str):
        kind = headers.pop("Content-Type", "text/html")
        return Response(answer.body, answer.status, headers, media_type=kind)
    return Response(as_json(answer.body), answer.status, headers, media_type="application/json")


async def body_of(request: HttpRequest) -> dict[str, Any] | None:
    """Return a request's JSON object, {} without a body, None when it is no object."""
    raw = await request.body()
    if not raw:
        return {}
    if len(raw) > BODY_BYTES_MAX:
        return None
    try:
        body = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


async def carry(venue: Venue, request: HttpRequest) -> Response:
    """Hand a request to the core and answer it as the core, or its fault plan, says."""
    body = await body_of(request)
    if body is None:
        return response_of(BAD_BODY)
    path, query = request.scope["path"], dict(request.query_params)
    done = venue.exchange(request.method, path, query, body, request.headers)
    if isinstance(done, Answer):
        return response_of(done)
    return await _faulty(done)


async def _faulty(action: Action) -> Response:
    """Answer late, or not at all: ``Dropped`` cuts the connection."""
    if action.kind in ("hang", "hold"):
        await asyncio.sleep(action.seconds)
    if action.kind == "hold" and action.answer is not None:
        return response_of(action.answer)
    return Dropped()


class Dropped(Response):
    """No response: the connection is cut (``ABORT`` in the scope says how)."""

    async def __call__(self, scope: Any, *_: Any) -> None:
        """Cut the connection and give the server a moment to notice."""
        scope["extensions"][ABORT]()
        await asyncio.sleep(CUT_S)
