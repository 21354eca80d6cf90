"""Prices from before a split, in the unit after it: until a new close is known, and after a
restart as well."""

from __future__ import annotations

from fractions import Fraction

from mqd.desk.market import Market


class SplitMarks(Market):
    """A market that was told of splits while it ran.

    A close from before the split stands for the new unit until the symbol has a later one,
    whichever steps of other symbols end meanwhile.
    """

    _splits: dict[str, list[tuple[int, Fraction]]]

    def note_split(self, symbol: str, ex_ns: int, ratio: Fraction) -> None:
        """Know a split: closes up to ``ex_ns`` are of the old unit, ``ratio`` new shares for one
        old share."""
        self._splits.setdefault(symbol, []).append((ex_ns, ratio))

    def split_memory(self) -> list[tuple[str, int, str]]:
        """Return the splits that are known: symbol, instant and ratio of each."""
        return [
            (symbol, ex_ns, f"{ratio.numerator}/{ratio.denominator}")
            for symbol, splits in self._splits.items()
            for ex_ns, ratio in splits
        ]

    def mark(self, symbol: str) -> int:
        """Return a symbol's last known close in ticks of the present unit, 0 before its first."""
        ticks = super().mark(symbol)
        if symbol in self._splits:
            marked_ns = self.marked_ns(symbol)
            for ex_ns, ratio in self._splits[symbol]:
                if marked_ns <= ex_ns:
                    ticks = ticks * ratio.denominator // ratio.numerator
        return ticks
