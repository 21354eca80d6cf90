"""What a replay took for granted, in sentences, each with how often it mattered."""

from __future__ import annotations

from mqd.desk.source import Source, Terms
from mqd.market_data.bars import Bars
from mqd.market_data.sessions import unknown_volume


def assumptions(source: Source, terms: Terms, bars: Bars) -> tuple[tuple[str, int | None], ...]:
    """Return what the replay took for granted, and how often each assumption mattered."""
    counts, model, costs = source.counts, terms.fills, terms.costs
    rejected = int((source.orders["status"] == "rejected").sum())
    lost = int((source.equity["equity"] <= 0).sum())
    said: list[tuple[str, int | None]] = [
        ("Decided at a close, filled at the next open with volume.", None),
        (f"Costs: {costs!r}.", None),
        (
            f"Fills take at most {model.participation_frac:g} of a bar's volume: so many were cut.",
            counts.capped_fills,
        ),
        ("Market fills cut to what buying power paid at the open.", counts.trimmed_fills),
        (
            "Limits fill when the price touches them."
            if model.touch_fills
            else "A limit fills only when the price trades through it.",
            None,
        ),
        ("Stop and target inside one bar: the stop is taken first.", counts.ambiguous_bars),
        ("Stops that filled at an open beyond their level.", counts.gap_fills),
        ("Follow-ups of a decision at the same open.", counts.follow_ups),
        ("Targets whose size rounded to no lots.", counts.zero_sizes),
        ("Orders that a control refused.", counts.denied),
        ("Orders that the venue rejected.", rejected),
        ("Bars that the calendar has and the data have not.", sum(bars.gaps.values())),
    ]
    if not model.latency_ns:
        said.append(("Orders reach the venue at once: optimistic.", None))
    if bars.close_only:
        said.append(("The data hold closes only: opens, highs and lows are the close.", None))
    if any(unknown_volume(bars, symbol) for symbol in bars.symbols):
        said.append(("The data hold no volume: fills are not capped by it.", None))
    if not (costs.fee_bps or costs.fee_per_share or costs.regulatory):
        said.append(("No fee is charged: name your venue's with mqd.Costs(fee_bps=...).", None))
    if lost:
        said.append(("Closes with no equity left: no margin call was simulated.", lost))
    if bool((source.positions < 0).any(axis=None)):
        said.append(("Shortability assumed: no locate file was given.", None))
    if counts.fractional_targets:
        said.append(
            (
                "Take-profit left out beside a stop on a fractional position.",
                counts.fractional_targets,
            )
        )
    if terms.research:
        said.append(("Research limits: well-formed orders and buying power only.", None))
    return tuple(said)
