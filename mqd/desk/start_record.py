"""The first records of a run: what runs, on which data, with which settings and scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from mqd.core.money import Scale
from mqd.desk.config_file import write_config
from mqd.desk.journal import Journal
from mqd.desk.records import text
from mqd.kernel.settings import Settings
from mqd.strategy.compiled import fingerprint
from mqd.strategy.strategy import Strategy


def write_start(
    journal: Journal,
    named: Sequence[tuple[str, Strategy, float]],
    settings: Settings,
    scales: Mapping[str, Scale],
    cash_quanta: int,
    *,
    data: Mapping[str, Any],
    first_ns: int,
    seed: int = 0,
    folder: Path | None = None,
) -> None:
    """Record the start of a run at ``first_ns`` and its deposit; keep both in ``folder``.

    ``data`` names the market data: feed, timeframe, adjustment, anchor and symbols, with hash
    and rows where they are known beforehand.
    """
    journal.now_ns = first_ns
    quantum: Decimal = next(iter(scales.values())).quantum
    start: dict[str, Any] = {
        "strategies": [
            {
                "name": name, "parameters": dict(one.parameters), "allocation": share,
                "code": fingerprint(one),
            }
            for name, one, share in named
        ],
        "data": dict(data),
        "cash": str(settings.cash), "account": settings.account,
        "multiplier": settings.multiplier, "costs": repr(settings.costs),
        "fills": repr(settings.fills), "sizer": repr(settings.sizer),
        "limits": settings.limits.sha256,
        "rules": [getattr(rule, "__qualname__", repr(rule)) for rule in settings.rules],
        "rebalance_band_frac": settings.rebalance_band_frac,
        "seed": seed,
        "scales": {s: {"tick": str(k.tick), "lot": str(k.lot)} for s, k in scales.items()},
        "quantum": f"{quantum:f}",
    }  # fmt: skip
    journal.write("run.start", start)
    if folder is not None:
        write_config(folder / "config.toml", start)
    deposit = text(cash_quanta, quantum)
    journal.write("cash", {"account": "deposits", "symbol": "", "amount": deposit})
