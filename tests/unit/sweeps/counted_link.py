"""A TCP relay that counts what passes: put between a client and its scheduler."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

BLOCK = 2**16


class CountedLink:
    """Forwards ``127.0.0.1:port`` to ``host:port`` and counts the bytes of both ways.

    ``sent``: from who connects to the target; ``received``: back.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.sent = self.received = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Where to connect."""
        return f"tcp://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        links = asyncio.all_tasks() - {asyncio.current_task()}
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(
                self._pump(reader, back, "sent"), self._pump(there, writer, "received")
            )
        except (asyncio.CancelledError, OSError):
            return
        finally:
            writer.close()
            back.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str
    ) -> None:
        while data := await source.read(BLOCK):
            setattr(self, way, getattr(self, way) + len(data))
            sink.write(data)
            await sink.drain()
        sink.close()
