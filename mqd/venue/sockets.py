"""``/stream``: trade updates as binary JSON frames, to whoever authenticated and listens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.responses import Response

from mqd.venue.book import AccountBook
from mqd.venue.venue import Venue
from mqd.venue.wire import as_json

STREAMS = frozenset({"trade_updates"})


class Listener:
    """One connection to ``/stream``."""

    def __init__(self, venue: Venue, socket: WebSocket) -> None:
        self._venue, self._socket = venue, socket
        self.book: AccountBook | None = None
        self.streams: list[str] = []
        self.outbox: asyncio.Queue[bytes | None] = asyncio.Queue()

    def wants(self, account_id: str) -> bool:
        """Return True when the account's trade updates go here."""
        return bool(self.streams) and self.book is not None and self.book.spec.id == account_id

    async def talk(self) -> None:
        """Answer the client's messages until it goes."""
        sender = asyncio.create_task(self._send())
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text") or message.get("bytes") or ""
                self._take(_object(text))
        except WebSocketDisconnect:
            return
        finally:
            sender.cancel()

    async def _send(self) -> None:
        while True:
            frame = await self.outbox.get()
            if frame is None:
                await self._socket.close()
                return
            await self._socket.send_bytes(frame)

    def _take(self, message: dict[str, Any]) -> None:
        action = message.get("action")
        if action in ("authenticate", "auth"):
            self._authenticate(message)
        elif action == "listen":
            self._listen(message)
        else:
            self._say("error", {"error": "unknown action"})

    def _authenticate(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        keys = data if isinstance(data, dict) else {}
        key_id = message.get("key") or keys.get("key_id") or ""
        secret = message.get("secret") or keys.get("secret_key") or ""
        known = isinstance(key_id, str) and isinstance(secret, str)
        book = self._venue.authorized(key_id, secret) if known else None
        if book is not None and self._venue.faults.connect("trading") is not None:
            book = None
        self.book = book
        status = "authorized" if book is not None else "unauthorized"
        self._say("authorization", {"status": status, "action": "authenticate"})

    def _listen(self, message: dict[str, Any]) -> None:
        if self.book is None:
            self._say("authorization", {"status": "unauthorized", "action": "listen"})
            return
        data = message.get("data")
        asked = data.get("streams") if isinstance(data, dict) else None
        names = asked if isinstance(asked, list) else []
        self.streams = [name for name in names if isinstance(name, str) and name in STREAMS]
        self._say("listening", {"streams": self.streams})

    def _say(self, stream: str, data: dict[str, Any]) -> None:
        self.outbox.put_nowait(as_json({"stream": stream, "data": data}))


class Listeners:
    """All connections to ``/stream``."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._all: set[Listener] = set()
        venue.on_update(self._on_update)

    def _on_update(self, account_id: str, frame: dict[str, Any], _: int) -> None:
        wanting = [one for one in self._all if one.wants(account_id)]
        if wanting:
            sent = as_json(frame)
            for listener in wanting:
                listener.outbox.put_nowait(sent)

    def cut(self) -> None:
        """End every connection."""
        for listener in list(self._all):
            listener.streams = []
            listener.outbox.put_nowait(None)

    def router(self) -> APIRouter:
        """Return the route of the socket."""
        router = APIRouter()

        @router.websocket("/stream")
        async def stream(socket: WebSocket) -> None:
            if self._venue.denials:
                status = self._venue.denials.pop(0)
                await socket.send_denial_response(Response(status_code=status))
                return
            await socket.accept()
            listener = Listener(self._venue, socket)
            self._all.add(listener)
            try:
                await listener.talk()
            finally:
                self._all.discard(listener)

        return router


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
