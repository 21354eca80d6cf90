"""What trading costs: fees, slippage, borrow and the dated regulatory table.

Rates are integers in 1e-4 basis points (``core.money.rate_units``). Fees are rounded up to the
quantum a fill, slippage to the tick against us, regulatory fees summed a type and day and rounded
up to the cent at the session's close, borrow up to the quantum at each session's close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from mqd.accounting import rate_ceil
from mqd.core.money import BPS_UNITS, Scale, rate_units
from mqd.errors import UsageError

BORROW_DAYS = 360
_EPOCH = date(1970, 1, 1)
FEE_PARTS = 10**6
"""Fees a lot are integers in millionths of a quantum."""


class RegulatoryRate(NamedTuple):
    """One row of the regulatory table, in force from ``since`` (days since 1970).

    ``sec_frac`` of sold notional; ``taf_per_share`` of sold shares, at most ``taf_max_usd`` a
    fill; ``cat_per_share`` of all shares.
    """

    since: int
    sec_frac: Decimal
    taf_per_share: Decimal
    taf_max_usd: Decimal
    cat_per_share: Decimal


def _row(day: str, sec: str, taf: str, taf_max: str, cat: str) -> RegulatoryRate:
    since = (date.fromisoformat(day) - _EPOCH).days
    return RegulatoryRate(since, Decimal(sec), Decimal(taf), Decimal(taf_max), Decimal(cat))


REGULATORY_TABLE = (
    _row("1970-01-01", "0.0000278", "0.000166", "8.30", "0.000003"),
    _row("2025-05-14", "0", "0.000166", "8.30", "0.000003"),
    _row("2026-01-01", "0", "0.000195", "9.79", "0.000003"),
    _row("2026-04-04", "0.0000206", "0.000195", "9.79", "0.000003"),
    _row("2027-01-01", "0.0000206", "0.000232", "11.61", "0.000003"),
    _row("2028-01-01", "0.0000206", "0.000240", "12.05", "0.000003"),
)
"""US equities, commission 0. Sources: the SEC's section 31 fee advisories, FINRA's trading activity
fee and the CAT fee schedule, as listed in Alpaca's brokerage fee schedule revised 2026-09-17. Days
before 2025 use the rates of early 2025."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Exactly the costs that are written here; zero means none.

    ``fee_bps`` of notional and ``fee_per_share`` (currency) a fill; ``slippage_bps`` worsens
    market and stop fills; ``borrow_bps_per_year`` of short value / 360 a calendar day;
    ``regulatory`` switches the dated US table on.
    """

    fee_bps: float = 0.0
    fee_per_share: float = 0.0
    slippage_bps: float = 0.0
    borrow_bps_per_year: float = 0.0
    regulatory: bool = False

    def __post_init__(self) -> None:
        for name in ("fee_bps", "fee_per_share", "slippage_bps", "borrow_bps_per_year"):
            value: object = getattr(self, name)
            number = isinstance(value, int | float | Decimal) and math.isfinite(value)
            if not (number and value >= 0):  # type: ignore[operator]
                raise UsageError(f"Costs: {name} = {value!r}; it must be a number >= 0.")
        for name in ("fee_bps", "slippage_bps", "borrow_bps_per_year"):
            if rate_units(getattr(self, name)) >= BPS_UNITS:
                raise UsageError(
                    f"Costs: {name} = {getattr(self, name)!r}; 10,000 bp is all of it."
                )

    @staticmethod
    def alpaca() -> Costs:
        """1 bp slippage, the dated regulatory table, 50 bp a year to borrow: the default."""
        return Costs(slippage_bps=1.0, borrow_bps_per_year=50.0, regulatory=True)

    @property
    def is_free(self) -> bool:
        """True when nothing at all is charged."""
        return self == Costs()


def worsened(ticks: int, side: int, slippage_rate: int) -> int:
    """Return a price moved against us by the slippage, rounded to the tick against us."""
    worse = ticks + side * rate_ceil(ticks, slippage_rate)
    return worse if worse > 0 else 1


def fill_fee(notional_quanta: int, lots: int, fee_rate: int, fee_per_lot: int) -> int:
    """Return a fill's own fee in quanta: a rate of notional plus ``fee_per_lot / 1e6`` a lot.

    The sum of both is rounded up, once.
    """
    if not fee_per_lot:
        return rate_ceil(notional_quanta, fee_rate)
    rest = notional_quanta % BPS_UNITS * fee_rate
    per_lot = fee_per_lot % FEE_PARTS
    parts = lots % FEE_PARTS * per_lot
    fraction = rest % BPS_UNITS + parts % FEE_PARTS * (BPS_UNITS // FEE_PARTS)
    fee = notional_quanta // BPS_UNITS * fee_rate + rest // BPS_UNITS - (-fraction // BPS_UNITS)
    whole = fee_per_lot // FEE_PARTS
    return fee + lots * whole + lots // FEE_PARTS * per_lot + parts // FEE_PARTS


def borrow_charge(value_quanta: int, borrow_rate: int, days: int) -> int:
    """Return the borrow fee in quanta for holding a short of ``value_quanta`` over ``days``."""
    parts = value_quanta // BPS_UNITS * (borrow_rate * days)
    rest = value_quanta % BPS_UNITS * (borrow_rate * days)
    return -(-(parts + -(-rest // BPS_UNITS)) // BORROW_DAYS)


def per_lot_parts(per_share: float | Decimal, scale: Scale) -> int:
    """Return a fee a share as millionths of a quantum a lot."""
    exact = Decimal(str(per_share)) * scale.lot / scale.quantum * FEE_PARTS
    return int(exact.to_integral_value(ROUND_CEILING))


def affordable_lots(room: int, lot_quanta: int, fee_rate: int, fee_per_lot: int) -> int:
    """Return the most lots whose notional plus own fee ``room`` (quanta) still pays."""
    if room < lot_quanta:
        return 0
    per_lot = lot_quanta + rate_ceil(lot_quanta, fee_rate) + -(-fee_per_lot // FEE_PARTS)
    low = room // per_lot
    high = room // (lot_quanta + fee_per_lot // FEE_PARTS)
    while low < high:
        middle = (low + high + 1) // 2
        value = middle * lot_quanta
        if value + fill_fee(value, middle, fee_rate, fee_per_lot) <= room:
            low = middle
        else:
            high = middle - 1
    return low


class RegulatoryDay:
    """Regulatory fees of one day, summed by type and rounded up to the cent at the close."""

    __slots__ = ("_cat_parts", "_cent", "_rates", "_sec_parts", "_taf_parts")

    def __init__(self, quantum: Decimal) -> None:
        self._cent = int(Decimal("0.01") / quantum)
        self._rates: dict[tuple[int, Decimal], tuple[int, int, int, int]] = {}
        self._clear()

    def _clear(self) -> None:
        self._sec_parts = self._taf_parts = self._cat_parts = 0

    def rate(self, day: int, scale: Scale) -> tuple[int, int, int, int]:
        """Return ``(sec, taf, taf_max, cat)``: 1e-10 of notional, parts a lot, parts, parts."""
        key = (day, scale.lot)
        rate = self._rates.get(key)
        if rate is None:
            row = [r for r in REGULATORY_TABLE if r.since <= day][-1]
            rate = (
                int(row.sec_frac * 10**10),
                per_lot_parts(row.taf_per_share, scale),
                int(row.taf_max_usd / scale.quantum) * FEE_PARTS,
                per_lot_parts(row.cat_per_share, scale),
            )
            self._rates[key] = rate
        return rate

    def add(self, day: int, side: int, lots: int, notional_quanta: int, scale: Scale) -> None:
        """Add one fill of session ``day``."""
        sec, taf, taf_max, cat = self.rate(day, scale)
        self._cat_parts += lots * cat
        if side < 0:
            self._sec_parts += notional_quanta * sec
            self._taf_parts += min(lots * taf, taf_max)

    def charge(self) -> int:
        """Return the day's fees in quanta and start a new day."""
        cent = self._cent
        total = 0
        for parts, unit in (
            (self._sec_parts, 10**10 * cent),
            (self._taf_parts, FEE_PARTS * cent),
            (self._cat_parts, FEE_PARTS * cent),
        ):
            total += -(-parts // unit) * cent
        self._clear()
        return total

    @property
    def pending(self) -> bool:
        """True when a fee waits for the close."""
        return bool(self._sec_parts or self._taf_parts or self._cat_parts)
