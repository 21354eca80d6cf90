"""Bars as plain files in a folder, for a process that computes the same again."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from mqd.core.bar import ActionKind, CorporateAction, SymbolBars
from mqd.market_data.bars import COLUMNS, Bars


def write_bars(bars: Bars, folder: Path) -> None:
    """Write columns (``bars.npz``) and the rest (``bars.json``) into a folder."""
    columns = {
        f"{place}.{name}": column
        for place, symbol in enumerate(bars.symbols)
        for name in COLUMNS
        if (column := getattr(bars[symbol], name)) is not None
    }
    np.savez(folder / "bars.npz", allow_pickle=False, **columns)
    document = {
        "calendar": bars.calendar, "timeframe_ns": bars.timeframe_ns, "source": bars.source,
        "feed": bars.feed, "adjust": bars.adjust, "dividends": bars.dividends,
        "close_only": bars.close_only, "gaps": dict(bars.gaps),
        "symbols": [_symbol(bars[symbol]) for symbol in bars.symbols],
    }  # fmt: skip
    (folder / "bars.json").write_text(json.dumps(document), encoding="utf-8")


def read_bars(folder: Path) -> Bars:
    """Return the bars that ``write_bars`` wrote, equal in every bit."""
    document = json.loads((folder / "bars.json").read_text(encoding="utf-8"))
    listed = document.pop("symbols")
    with np.load(folder / "bars.npz", allow_pickle=False) as columns:
        by_symbol = {
            words["symbol"]: _symbol_bars(words, place, columns)
            for place, words in enumerate(listed)
        }
    return Bars(by_symbol, **document)


def _symbol(bars: SymbolBars) -> dict[str, Any]:
    actions = [
        [a.symbol, a.ts_ex, a.kind.value, a.numerator, a.denominator, str(a.amount)]
        for a in bars.actions
    ]
    words = {"symbol": bars.symbol, "tick": str(bars.tick), "lot": str(bars.lot)}
    return {**words, "actions": actions, "shown_splits": bars.shown_splits}


def _symbol_bars(words: dict[str, Any], place: int, columns: Any) -> SymbolBars:
    found = {name: columns[f"{place}.{name}"] for name in COLUMNS if f"{place}.{name}" in columns}
    for column in found.values():
        column.setflags(write=False)
    actions = tuple(
        CorporateAction(symbol, ts, ActionKind(kind), up, down, Decimal(amount))
        for symbol, ts, kind, up, down, amount in words["actions"]
    )
    made = SymbolBars(
        symbol=words["symbol"], tick=Decimal(words["tick"]), lot=Decimal(words["lot"]), **found
    )
    shown = tuple((int(ts), float(ratio)) for ts, ratio in words["shown_splits"])
    return replace(made, actions=actions, shown_splits=shown)
