"""``BarsFile``: bars that stay in their file until a worker, or a row of the result, reads them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mqd.market_data.bars import Bars, load_bars


class BarsFile(NamedTuple):
    """A file that ``mqd.load_bars`` reads whole, and what was found in it.

    ``path`` is absolute and names the same file on every worker. ``sha256`` is that of the bars.
    """

    path: Path
    symbols: tuple[str, ...]
    n_bars: int
    sha256: str

    def load(self) -> Bars:
        """Read the bars."""
        return load_bars(self.path)
