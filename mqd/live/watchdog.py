"""The watchdog: a process of its own that cancels opening orders when the desk falls silent.

Alpaca ties no order to a connection, so orders outlive a desk that hangs or dies. The watchdog has
its own session and its own lock; it reads the desk's heartbeat and says once a second that it is
there itself (``watchdog.json``): without it the desk opens nothing. Orders that only reduce a
position, protective stops above all, stay.

``python -m mqd.live.watchdog CONFIG [--rehearsal]`` is started by the desk. It ends when the desk
says "done" on its standard input; when that closes without a word, the desk has died.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from mqd import logs
from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.keys import read_keys
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import MqdError, StateFolderTaken
from mqd.live.config import LiveConfig, read_config
from mqd.live.folder import write_atomically
from mqd.live.status import read_heartbeat
from mqd.log_files import lock_folder

WATCHDOG_FILE: Final = "watchdog.json"
WATCHDOG_FOLDER: Final = "watchdog"
SILENT_NS: Final = 60 * NS_PER_S
LOOK_S: Final = 1.0
CALM_ROUNDS: Final = 3
DONE: Final = "done"
READY_S: Final = 30.0


def opening_ids(orders: Sequence[Mapping[str, Any]], held: Mapping[str, int]) -> list[str]:
    """Return the ids of the open ``orders`` (Alpaca's) that can open or grow a position.

    ``held`` is the sign of each position: -1, 1, or absent when flat. What nobody can read opens.
    """
    found = []
    for order in orders:
        side = {"buy": 1, "sell": -1}.get(str(order.get("side")), 0)
        reduces = side != 0 and held.get(str(order.get("symbol")), 0) == -side
        if not reduces:
            found.append(wire.id_of(order))
    return [name for name in found if name]


class Watchdog:
    """Looks after one desk. ``died()`` says that the desk's process is gone."""

    def __init__(
        self, folder: Path, session: AlpacaSession, clock: WallClock, died: Callable[[], bool]
    ) -> None:
        self._folder, self._session, self._clock, self._died = folder, session, clock, died
        self._since_ns = clock.now_ns()
        self.n_cancelled = 0
        self.n_empty = 0

    def look(self) -> bool:
        """Look once: say that we live, cancel when the desk does not; True while it was silent."""
        now_ns = self._clock.now_ns()
        said = {"now_ns": now_ns, "pid": os.getpid(), "cancelled": self.n_cancelled}
        write_atomically(self._folder / WATCHDOG_FILE, json.dumps(said).encode(), durable=False)
        if not (self._died() or self._is_silent(now_ns)):
            self.n_empty = 0
            return False
        try:
            found = self._cancel_opening()
        except MqdError as error:
            logs.get_logger("watchdog").error("watchdog_failed", why=str(error))
            return True
        self.n_empty = 0 if found else self.n_empty + 1
        return True

    def _is_silent(self, now_ns: int) -> bool:
        """Return whether the last heartbeat (at first: our own start) is a minute old."""
        beat = read_heartbeat(self._folder, now_ns)
        age_ns = now_ns - self._since_ns
        return min(age_ns, age_ns if beat is None else beat.age_ns) > SILENT_NS

    def _cancel_opening(self) -> int:
        """Cancel every order that can open a position; return how many there were."""
        held = {}
        for one in self._session.ask("/v2/positions", urgent=True):
            qty = wire.number(one.get("qty"))
            held[str(one.get("symbol"))] = 0 if not qty else (1 if qty > 0 else -1)
        words = {"status": "open", "limit": 500}
        opening = opening_ids(self._session.ask("/v2/orders", words, urgent=True), held)
        for name in opening:
            self._session.insist("DELETE", f"/v2/orders/{name}", urgent=True)
            self.n_cancelled += 1
        if opening:
            logs.get_logger("watchdog").warning("watchdog_cancelled", orders=len(opening))
        return len(opening)


class WatchdogProcess:
    """The watchdog of a desk as a child process; ``environment`` holds its keys' variables."""

    def __init__(
        self, config: LiveConfig, environment: Mapping[str, str], *, rehearsal: bool
    ) -> None:
        self._folder = config.state
        words = ["--rehearsal"] if rehearsal else []
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "mqd.live.watchdog", str(config.file), *words],
            stdin=subprocess.PIPE, start_new_session=True, text=True, env=dict(environment),
        )  # fmt: skip
        self._clock, self._read_ns, self._said_ns = WallClock(), 0, 0

    def silent_ns(self) -> int | None:
        """Return how long ago it last said that it lives, None before or once it has ended."""
        now = self._clock.monotonic_ns()
        if now - self._read_ns > NS_PER_S:
            self._read_ns, self._said_ns = now, self._spoken_ns()
        if not self._said_ns or self._process.poll() is not None:
            return None
        return max(0, self._clock.now_ns() - self._said_ns)

    def _spoken_ns(self) -> int:
        try:
            said = json.loads((self._folder / WATCHDOG_FILE).read_bytes())
        except (OSError, ValueError):
            return 0
        return int(said["now_ns"]) if said.get("pid") == self._process.pid else 0

    def wait_ready(self) -> bool:
        """Wait until it has said that it lives; False when it ended or stays mute."""
        waiting, until = threading.Event(), self._clock.monotonic_ns() + int(READY_S * NS_PER_S)
        while self._process.poll() is None and self._clock.monotonic_ns() < until:
            self._read_ns = 0
            if self.silent_ns() is not None:
                return True
            waiting.wait(0.05)
        return False

    def close(self) -> None:
        """Tell it that the desk has ended as it should, and wait for it."""
        if self._process.poll() is None and self._process.stdin is not None:
            try:
                self._process.communicate(DONE, timeout=10.0)
            except (subprocess.TimeoutExpired, OSError):
                self._process.terminate()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(config: LiveConfig) -> None:
    """Look after the desk of ``config`` until it says that it has ended, or has died."""
    home = config.state / WATCHDOG_FOLDER
    home.mkdir(mode=0o700, exist_ok=True)
    lock = _lock(home)
    logs.configure(config.state)
    ended, heard = threading.Event(), list[str]()
    threading.Thread(target=_listen, args=(heard, ended), daemon=True).start()
    keys = read_keys(config.keys_file, config.keys_env)
    session = AlpacaSession(config.endpoint, keys, WallClock())
    try:
        dog = Watchdog(config.state, session, WallClock(), ended.is_set)
        pause = threading.Event()
        while DONE not in heard and not (ended.is_set() and dog.n_empty >= CALM_ROUNDS):
            dog.look()
            (pause if ended.is_set() else ended).wait(LOOK_S)
    finally:
        session.close()
        os.close(lock)


def _lock(home: Path) -> int:
    """Take the lock; the watchdog of a desk that has died may still be at work there."""
    clock, waiting = WallClock(), threading.Event()
    until = clock.monotonic_ns() + int(READY_S / 2 * NS_PER_S)
    while True:
        try:
            return lock_folder(home)
        except StateFolderTaken:
            if clock.monotonic_ns() > until:
                raise
        waiting.wait(LOOK_S / 4)


def _listen(heard: list[str], ended: threading.Event) -> None:
    heard.append(sys.stdin.read().strip())
    ended.set()


def main(words: Sequence[str]) -> int:
    """Run the watchdog of a configuration; 2 for a configuration that is refused."""
    rehearsal = "--rehearsal" in words
    files = [word for word in words if not word.startswith("--")]
    try:
        run(read_config(files[0], rehearsal=rehearsal))
    except (IndexError, MqdError) as error:
        sys.stderr.write(f"The watchdog ends: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
