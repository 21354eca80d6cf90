"""The watchdog: a process of its own that cancels opening orders when the desk falls silent.

Alpaca ties no order to a connection, so orders outlive a desk that hangs or dies. The watchdog has
its own session and its own lock; it reads the desk's heartbeat and says once a second that it is
there itself (``watchdog.json``): without it the desk opens nothing. Orders that only reduce a
position, protective stops above all, stay; a desk that hangs after `mqd kill` loses all of them.

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
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from mqd import logs
from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.keys import read_keys
from mqd.adapters.alpaca.session import AlpacaSession, objects
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import MqdError, StateFolderTaken
from mqd.live.config import LiveConfig, read_config
from mqd.live.errors import DeskRefused
from mqd.live.folder import LATCHES, write_atomically
from mqd.live.status import read_heartbeat
from mqd.log_files import lock_folder

WATCHDOG_FILE: Final = "watchdog.json"
WATCHDOG_FOLDER: Final = "watchdog"
SILENT_NS: Final = 60 * NS_PER_S
LOOK_S: Final = 1.0
HANGS_NS: Final = 10 * NS_PER_S
CALM_ROUNDS: Final = 3
KILL_LATCH: Final = f"{LATCHES}/kill.latch"
OPEN_ORDERS: Final = {"status": "open", "limit": 500}
DONE: Final = "done"
READY_S: Final = 30.0


def opening_ids(orders: Sequence[Mapping[str, Any]], held: Mapping[str, Decimal]) -> list[str]:
    """Return the ids of the open ``orders`` (Alpaca's) that can open, grow or turn a position.

    ``held`` are the signed positions, absent when flat. The single orders that stay never exceed
    what is held together, each leg of a group by itself. What nobody can read opens.
    """
    found, left = [], dict(held)
    for order in orders:
        symbol, name = str(order.get("symbol")), wire.id_of(order)
        side = {"buy": 1, "sell": -1}.get(str(order.get("side")), 0)
        qty, filled = wire.number(order.get("qty")), wire.number(order.get("filled_qty"))
        open_qty = None if qty is None else qty - (filled or 0)
        room = -side * left.get(symbol, Decimal(0))
        if side == 0 or open_qty is None or not 0 < open_qty <= room:
            found.append(name)
        elif str(order.get("order_class") or "simple") == "simple":
            left[symbol] += side * open_qty
    return [name for name in found if name]


class Watchdog:
    """Looks after one desk. ``died()`` says that the desk's process is gone."""

    def __init__(
        self, folder: Path, session: AlpacaSession, clock: WallClock, died: Callable[[], bool]
    ) -> None:
        self._folder, self._session, self._clock, self._died = folder, session, clock, died
        self._heard: Mapping[str, Any] | None = None
        self._heard_mono_ns = clock.monotonic_ns()
        self._log = logs.get_logger("watchdog")
        self.n_cancelled = 0
        self.n_empty = 0

    def look(self) -> bool:
        """Look once: say that we live, cancel when the desk does not; True while it was silent."""
        self._say(self._clock.now_ns())
        silence_ns = self._silence_ns()
        killed = self._is_killed_and_hangs(silence_ns)
        if not (killed or self._died() or silence_ns > SILENT_NS):
            self.n_empty = 0
            return False
        try:
            found = self._cancel_everything() if killed else self._cancel_opening()
        except Exception as error:  # noqa: BLE001 - a watchdog that ends watches nothing
            self._log.error("watchdog_failed", why=str(error) or type(error).__name__)
            return True
        self.n_empty = 0 if found else self.n_empty + 1
        return True

    def _say(self, now_ns: int) -> None:
        """Say that we live; a full disk is no reason to stop watching."""
        said = {"now_ns": now_ns, "pid": os.getpid(), "cancelled": self.n_cancelled}
        try:
            write_atomically(self._folder / WATCHDOG_FILE, json.dumps(said).encode(), durable=False)
        except OSError as error:
            self._log.error("watchdog_mute", why=str(error))

    def _is_killed_and_hangs(self, silence_ns: int) -> bool:
        """Return whether the kill latch is set and the desk, which should cancel, is silent."""
        return (self._folder / KILL_LATCH).exists() and (self._died() or silence_ns > HANGS_NS)

    def _silence_ns(self) -> int:
        """Return how long no new heartbeat was seen, at first since our own start; the computer's
        clock may be set meanwhile."""
        beat, mono_ns = read_heartbeat(self._folder, 0), self._clock.monotonic_ns()
        if beat is not None and beat.said != self._heard:
            self._heard, self._heard_mono_ns = beat.said, mono_ns
        return mono_ns - self._heard_mono_ns

    def _cancel_opening(self) -> int:
        """Cancel every order that can open a position; return how many there were."""
        held = {
            str(one.get("symbol")): wire.number(one.get("qty")) or Decimal(0)
            for one in objects(self._session, "/v2/positions", urgent=True)
        }
        opening = opening_ids(objects(self._session, "/v2/orders", OPEN_ORDERS, urgent=True), held)
        for name in opening:
            self._cancel(name)
        if opening:
            self._log.warning("watchdog_cancelled", orders=len(opening))
        return len(opening)

    def _cancel(self, name: str) -> None:
        """Ask to cancel one order; one that does not go must not keep the others."""
        try:
            self._session.insist("DELETE", f"/v2/orders/{name}", urgent=True)
            self.n_cancelled += 1
        except MqdError as error:
            self._log.error("watchdog_cancel_failed", order=name, why=str(error))

    def _cancel_everything(self) -> int:
        """Do what a killed desk would: cancel all that is open; return how many there were."""
        orders = objects(self._session, "/v2/orders", OPEN_ORDERS, urgent=True)
        if orders:
            self._session.insist("DELETE", "/v2/orders", urgent=True)
            self._log.warning("watchdog_cancelled_everything", orders=len(orders))
        return len(orders)


class WatchdogProcess:
    """The watchdog of a desk as a child process; ``environment`` holds its keys' variables.

    ``traded()`` says whether the desk had begun its session when it died.
    """

    def __init__(
        self, config: LiveConfig, environment: Mapping[str, str], *, rehearsal: bool
    ) -> None:
        self._folder = config.state
        words = ["--rehearsal"] if rehearsal else []
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "mqd.live.watchdog", str(config.file), *words],
            stdin=subprocess.PIPE, start_new_session=True, text=True, env=dict(environment),
        )  # fmt: skip
        self._clock, self._read_ns = WallClock(), 0
        self._said_ns = self._heard_mono_ns = 0
        self.traded: Callable[[], bool] = lambda: False

    def silent_ns(self) -> int | None:
        """Return for how long it said nothing new, None before or once it has ended."""
        now = self._clock.monotonic_ns()
        if now - self._read_ns > NS_PER_S:
            self._read_ns, said_ns = now, self._spoken_ns()
            if said_ns != self._said_ns:
                self._said_ns, self._heard_mono_ns = said_ns, now
        if not self._said_ns or self._process.poll() is not None:
            return None
        return now - self._heard_mono_ns

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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Tell it that the desk has ended; of one that died while it traded it is told nothing.

        A start that was refused changed nothing at the venue, so there is nothing to undo.
        """
        if kind is None or issubclass(kind, DeskRefused) or not self.traded():
            self.close()
        elif self._process.stdin is not None:
            self._process.stdin.close()


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
