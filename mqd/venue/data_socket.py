"""``/v2/{feed}``: the web layer of the market-data sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.responses import Response

from mqd.venue.data_stream import AUTH_S, ENDPOINTS, DataHub, DataSession

OUTBOX_MAX = 20_000


class _Line:
    """One connection's outgoing frames; a client that does not read is too slow: ``on_slow``."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.outbox: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.on_slow: Callable[[], None] = lambda: None
        self._slow = self._closed = False

    def send(self, frame: bytes | str) -> None:
        """Queue a frame; of a client that is too slow everything that waits is dropped."""
        if self._closed:
            return
        if self.outbox.qsize() >= OUTBOX_MAX and not self._slow:
            self._slow = True
            while not self.outbox.empty():
                self.outbox.get_nowait()
            self.on_slow()
            return
        self.outbox.put_nowait(frame)

    def close(self) -> None:
        """Close after what is queued."""
        self._closed = True
        self.outbox.put_nowait(None)

    async def drain(self) -> None:
        """Write frames until the line is closed."""
        while True:
            frame = await self.outbox.get()
            if frame is None:
                await self._socket.close()
                return
            if isinstance(frame, bytes):
                await self._socket.send_bytes(frame)
            else:
                await self._socket.send_text(frame)


def router(hub: DataHub, denials: list[int]) -> APIRouter:
    """Return the route of the sockets; ``denials`` are the statuses of the next handshakes."""
    routes = APIRouter()

    @routes.websocket("/v2/{feed}")
    async def market_data(socket: WebSocket, feed: str) -> None:
        denial = denials.pop(0) if denials else 0 if feed in ENDPOINTS else 404
        if denial:
            await socket.send_denial_response(Response(status_code=denial))
            return
        await socket.accept()
        line = _Line(socket)
        session = DataSession(hub, feed, dict(socket.headers), line.send, line.close)
        line.on_slow = session.too_slow
        writer = asyncio.create_task(line.drain())
        clock = asyncio.get_running_loop().call_later(AUTH_S, session.timed_out)
        session.opened()
        try:
            await _listen(socket, session)
        finally:
            clock.cancel()
            writer.cancel()
            session.closed()

    return routes


async def _listen(socket: WebSocket, session: DataSession) -> None:
    """Hand the client's messages over until it goes."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            session.received(message.get("bytes") or message.get("text") or "")
    except WebSocketDisconnect:
        return
