"""The venue as a process: configured by a file, on the loopback interface, until told to end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mqd.errors import MqdError
from mqd.venue.app import app_of
from mqd.venue.config import VenueConfig, read_config
from mqd.venue.pace import walk
from mqd.venue.venue import Venue
from mqd.venue.wire import ABORT

HOST = "127.0.0.1"


class LoopbackServer(uvicorn.Server):
    """Calls ``on_ready(port)`` once it listens."""

    on_ready: Callable[[int], None] = staticmethod(lambda _: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self.on_ready(self.servers[0].sockets[0].getsockname()[1])


class CuttingProtocol(H11Protocol):
    """HTTP that lets the application cut its connection, as a fault does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Tell the application of every request how to cut the connection."""
        super().connection_made(transport)
        app = self.app

        async def cuttable(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await app(scope, receive, send)

        self.app = cuttable


def venue_of(config: VenueConfig) -> Venue:
    """Return the venue of a configuration."""
    return Venue(
        config.bars, config.settings, accounts=config.accounts, faults=config.faults,
        refuses_unpayable=config.refuses_unpayable, rate_max=config.rate_max,
        keeps_hours=config.keeps_hours,
        plan=config.plan,
    )  # fmt: skip


def server_of(app: FastAPI, port: int = 0) -> LoopbackServer:
    """Return a server of the application on the loopback interface; port 0 takes a free one."""
    return LoopbackServer(
        uvicorn.Config(
            app, host=HOST, port=port, log_level="warning", access_log=False,
            http=CuttingProtocol, ws="websockets-sansio", ws_max_size=16 * 2**20, lifespan="off",
            server_header=False, timeout_graceful_shutdown=2,
        )
    )  # fmt: skip


async def serve(config: VenueConfig) -> None:
    """Serve until a signal, or the end of standard input, ends it."""
    venue = venue_of(config)
    app = app_of(venue, control_token=config.control_token, stepped=config.pace == "step")
    server = server_of(app, config.port)
    server.on_ready = _say_ready
    loop = asyncio.get_running_loop()
    threading.Thread(target=_until_closed, args=(loop, server), daemon=True).start()
    walking = None
    if not isinstance(config.pace, str):
        walking = asyncio.create_task(walk(venue, config.pace))
        walking.add_done_callback(lambda _: _stop(server))
    await server.serve()
    if walking is not None and not walking.cancel():
        walking.result()  # it ended by itself: with an error


def _say_ready(port: int) -> None:
    """Say on standard output where the venue listens, in one line of JSON."""
    sys.stdout.write(json.dumps({"port": port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


def _until_closed(loop: asyncio.AbstractEventLoop, server: uvicorn.Server) -> None:
    """End the server when whoever started it has gone."""
    while sys.stdin.buffer.read(4096):
        continue
    loop.call_soon_threadsafe(_stop, server)


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True


def main(argv: list[str]) -> int:
    """Run the venue of ``--config FILE``; return the exit code."""
    if len(argv) != 2 or argv[0] != "--config":
        sys.stderr.write("usage: python -m mqd.venue --config FILE.json\n")
        return 2
    try:
        config = read_config(Path(argv[1]))
        asyncio.run(serve(config))
    except MqdError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
