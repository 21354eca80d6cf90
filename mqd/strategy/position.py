"""A position as ``decide`` sees it: one function, floats from the run's integers."""

from __future__ import annotations


def position_view(
    lots: int,
    cost: int,
    value: int,
    slot: float,
    units: tuple[float, float],
    bars_held: int,
    peak_px: float,
) -> tuple[float, float, float, float, float, float]:
    """Return the fields of ``PositionView`` in order; all 0.0 when flat.

    ``cost`` and ``value`` (at this close) in quanta, signed like ``lots``; ``slot`` in quanta;
    ``units`` = (lots in one share, quanta in one currency unit). A slot of nothing gives weight
    inf. One of the three functions in which float64 enters (+ - x / only).
    """
    if not lots:
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    lots_per_share, quanta_per_unit = units
    qty = float(lots) / lots_per_share
    weight = float(value) / slot if slot > 0.0 else float("inf")
    avg_px = float(cost) / quanta_per_unit / qty
    gain = float(value - cost)
    unrealized = gain / float(cost if cost > 0 else -cost) if cost else 0.0
    return (weight, qty, avg_px, float(bars_held), peak_px, unrealized)
