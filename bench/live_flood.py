"""A data socket in front of the venue's that adds quotes and trades: a burst that lasts.

``live_flood.py UPSTREAM RATE PACE``: passes all messages on, both ways, and from the first
subscription on adds ``RATE`` messages a second, in frames of 100: copies of the newest quote and
trade, with the venue's present time. The first of each frame says in ``sent_mono_ns`` when it
went out. Prints its port in one line of JSON and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from time import monotonic_ns
from typing import Any

import msgpack
import websockets

FRAME = 100
NS_PER_S = 10**9


class Flood:
    """One connection of a desk, and the venue's behind it."""

    def __init__(self, upstream: str, rate: int, pace: float) -> None:
        self._upstream, self._pace = upstream, pace
        self._every_s = FRAME / rate
        self._newest: dict[str, dict[str, Any]] = {}
        self._venue_ns = self._seen_ns = 0

    async def serve(self, desk: Any) -> None:
        """Pass messages on until either side goes."""
        form = {"Content-Type": desk.request.headers.get("Content-Type", "application/json")}
        url = f"{self._upstream}{desk.request.path}"
        async with websockets.connect(url, additional_headers=form) as venue:
            tasks = [
                asyncio.create_task(self._up(desk, venue)),
                asyncio.create_task(self._down(venue, desk)),
                asyncio.create_task(self._burst(desk)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _up(self, desk: Any, venue: Any) -> None:
        async for message in desk:
            await venue.send(message)

    async def _down(self, venue: Any, desk: Any) -> None:
        async for frame in venue:
            if isinstance(frame, bytes):
                self._learn(msgpack.unpackb(frame, timestamp=2))
            await desk.send(frame)

    def _learn(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if message.get("T") in ("q", "t"):
                self._newest[message["T"]] = message
                self._venue_ns, self._seen_ns = message["t"], monotonic_ns()

    async def _burst(self, desk: Any) -> None:
        due = monotonic_ns()
        while True:
            due += int(self._every_s * NS_PER_S)
            await asyncio.sleep(max(0.0, (due - monotonic_ns()) / NS_PER_S))
            if {"q", "t"} <= self._newest.keys():
                await desk.send(self._frame())

    def _frame(self) -> bytes:
        """Return four quotes for each trade, all of now."""
        passed = (monotonic_ns() - self._seen_ns) * self._pace
        now = msgpack.Timestamp.from_unix_nano(self._venue_ns + int(passed))
        quote, trade = (self._newest[kind] | {"t": now} for kind in ("q", "t"))
        messages = [trade if place % 5 == 4 else quote for place in range(FRAME)]
        messages[0] = quote | {"sent_mono_ns": monotonic_ns()}
        return bytes(msgpack.packb(messages))


async def main() -> None:
    """Serve until standard input ends."""
    flood = Flood(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait, daemon=True).start()
    async with websockets.serve(flood.serve, "127.0.0.1", 0) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
