"""``BarGate``: each bar goes through once, complete, and in order of time for its symbol."""

from __future__ import annotations

from typing import Final, NamedTuple

from mqd.core.bar import Bar

REMEMBERED: Final = 64  # released bars a symbol that a revision is compared with


class Gap(NamedTuple):
    """A stretch whose bars of a symbol could not be had again: from a close to an instant, ns."""

    symbol: str
    after_ns: int
    until_ns: int


class BarGate:
    """Holds bars until they close; of several revisions the last one before the release wins.

    A bar that comes at or after its close goes through at once. One that came before waits until
    ``grace_ns`` after its close for a final revision. What comes again, or out of order, after
    its release is counted and kept from the desk: ``n_duplicate`` (the same values),
    ``n_revised`` (others), ``n_late`` (older than the symbol's last bar and never seen).
    """

    def __init__(self, grace_ns: int = 0) -> None:
        self.grace_ns = grace_ns
        self.n_released = self.n_duplicate = self.n_revised = self.n_late = 0
        self.last: dict[str, Bar] = {}
        self._waiting: dict[str, dict[int, tuple[int, Bar]]] = {}
        self._seen: dict[str, dict[int, Bar]] = {}

    def take(self, bar: Bar, now_ns: int) -> bool:
        """Take a bar; True when it waits or is ready, False when it may not go through (again).

        `ready` returns it once it may go.
        """
        last = self.last.get(bar.symbol)
        if last is not None and bar.ts_open <= last.ts_open:
            known = self._seen.get(bar.symbol, {}).get(bar.ts_open)
            if known is None:
                self.n_late += 1
            elif known == bar:
                self.n_duplicate += 1
            else:
                self.n_revised += 1
            return False
        final = now_ns >= bar.ts_close
        due_ns = bar.ts_close if final else bar.ts_close + self.grace_ns
        self._waiting.setdefault(bar.symbol, {})[bar.ts_open] = (due_ns, bar)
        return True

    def ready(self, now_ns: int) -> list[Bar]:
        """Return and remember the bars that may go, by close, then symbol.

        Older bars of a symbol go with a newer one.
        """
        due: list[Bar] = []
        for waiting in self._waiting.values():
            newest = max((at for at, (due_ns, _) in waiting.items() if now_ns >= due_ns), default=0)
            due += [waiting.pop(at)[1] for at in sorted(waiting) if at <= newest]
        due.sort(key=lambda bar: (bar.ts_close, bar.symbol))
        for bar in due:
            self.last[bar.symbol] = bar
            seen = self._seen.setdefault(bar.symbol, {})
            seen[bar.ts_open] = bar
            if len(seen) > REMEMBERED:
                del seen[next(iter(seen))]
        self.n_released += len(due)
        return due
