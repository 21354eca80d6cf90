"""The numbers that rules compare with, read from TOML, which at run time may only tighten.

Every name ends in its unit and ``_max`` or ``_min``, so the tighter of two values is known by
name: the smaller ``_max``, the larger ``_min``. Defaults and numbers of the controls are those
of the project's catalogue (reference/reliability.md, section 2).

A limits file::

    [account]                      # what is left out has the catalogue's default
    notional_usd_max = 25000.0
    market_collar_frac = 0.005     # market orders leave as limits at most this far from the price
    [platform]                     # bounds nobody below may exceed; left out: none
    gross_frac_max = 1.0
    [strategy.sma_cross]           # left out: the account's
    orders_min_max = 30
    [symbol.AAPL]
    position_frac_max = 0.05
    [universe]
    allow = ["AAPL", "IBM"]        # left out: every symbol of the run
    deny = []
    [sectors]
    AAPL = "technology"

Of platform, account, strategy and symbol the tightest wins.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from mqd.core.money import BPS_UNITS
from mqd.errors import UsageError

INF = float("inf")


class LimitValues(NamedTuple):
    """The limits that bind one order, as floats; what a rule reads as ``limits``.

    ``inf`` in a ``_max`` and 0 in a ``_min`` mean "does not bind". ``*_frac_max`` are fractions
    of equity unless the name says otherwise (0.05 is one twentieth).
    """

    qty_max: float = 10_000.0  # 3
    volume_frac_max: float = 0.01  # 3, of the 20-day mean volume
    qty_unknown_volume_max: float = 100.0  # 3
    notional_usd_max: float = 25_000.0  # 4
    notional_frac_max: float = 0.05  # 4
    position_qty_max: float = 10_000.0  # 5
    position_frac_max: float = 0.10  # 5
    gross_frac_max: float = 1.0  # 6
    net_frac_max: float = 1.0  # 6
    concentration_frac_max: float = 0.10  # 7
    sector_frac_max: float = 0.30  # 7
    sector_unknown_frac_max: float = 0.10  # 7
    buying_power_frac_max: float = 0.95  # 8, of what is left
    multiplier_max: float = 1.0  # 8, gross / equity
    daily_loss_frac_max: float = 0.02  # 9
    drawdown_frac_max: float = 0.10  # 10
    orders_s_max: float = 5.0  # 11, refill of the bucket
    orders_burst_max: float = 10.0  # 11, size of the bucket
    orders_min_max: float = 60.0  # 11, a strategy
    account_orders_min_max: float = 120.0  # 11
    same_order_age_ns_min: float = 1e9  # 12
    fills_min_max: float = 10.0  # 13, a symbol and side
    ref_age_ns_max: float = 172_800e9  # 18, two daily bars
    bad_tick_frac_max: float = 0.20  # 19, of the median
    prices_min: float = 5.0  # 19, fewer closes: no judgement, no order
    margin_long_frac_min: float = 0.25  # 20, of value
    margin_short_frac_min: float = 0.30  # 20, of value
    margin_equity_frac_max: float = 0.95  # 20
    open_orders_symbol_max: float = 5.0  # 22
    open_orders_account_max: float = 50.0  # 22
    messages_min_max: float = 160.0  # 23
    replaces_max: float = 10.0  # 23, a lineage
    messages_per_fill_max: float = 20.0  # 23
    messages_free_max: float = 50.0  # 23, before the ratio counts
    turnover_frac_max: float = 2.0  # 28, a day


NAMES = LimitValues._fields

NO_BOUND = LimitValues(*(INF if name.endswith("_max") else 0.0 for name in NAMES))
"""Values that bind nothing."""


def tightest(one: LimitValues, other: LimitValues) -> LimitValues:
    """Return the tighter value of each limit; NaN wins, because it refuses everything."""
    return LimitValues(
        *(_tighter(n, a, b) for n, a, b in zip(NAMES, one, other, strict=True)),
    )


def looser_names(now: LimitValues, then: LimitValues) -> list[str]:
    """Return the names of the limits that ``then`` would loosen."""
    return [
        name
        for name, old, new in zip(NAMES, now, then, strict=True)
        if not (new <= old if name.endswith("_max") else new >= old)
    ]


def _tighter(name: str, one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return float("nan")
    return min(one, other) if name.endswith("_max") else max(one, other)


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a run: account and platform, and what strategies and symbols tighten.

    ``research`` limits judge well-formed orders and buying power only, for backtests.
    ``allow=None`` means every symbol of the run. With ``market_collar_frac`` every market order is
    sent as a limit that far beyond the last price (control 2); None sends it as it is.
    ``str(limits)`` prints what binds.
    """

    account: LimitValues = field(default_factory=LimitValues)
    platform: LimitValues = NO_BOUND
    strategies: Mapping[str, LimitValues] = field(default_factory=dict)
    symbols: Mapping[str, LimitValues] = field(default_factory=dict)
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    sectors: Mapping[str, str] = field(default_factory=dict)
    is_research: bool = False
    market_collar_frac: float | None = None

    @property
    def market_collar_units(self) -> int | None:
        """The collar of market orders in units of 1e-8 of the price, None without one."""
        frac = self.market_collar_frac
        return None if frac is None else round(Fraction(repr(frac)) * BPS_UNITS)

    @staticmethod
    def research(multiplier: float = 1.0) -> Limits:
        """Return research limits: gross may reach equity x ``multiplier``, nothing else binds."""
        if not multiplier > 0 or multiplier == INF:
            raise UsageError(f"multiplier is {multiplier}; it must be a finite number above 0.")
        account = NO_BOUND._replace(multiplier_max=float(multiplier), buying_power_frac_max=1.0)
        return Limits(account=account, is_research=True)

    @staticmethod
    def default() -> Limits:
        """Return the catalogue's defaults for every symbol of the run."""
        return Limits()

    @staticmethod
    def from_toml(path: str) -> Limits:
        """Read a limits file; raise ``BadLimits`` naming file and line of what is wrong."""
        from mqd.risk.limits_file import read_limits

        return read_limits(path)

    def values(self, strategy: str, symbol: str) -> LimitValues:
        """Return what binds an order of ``strategy`` in ``symbol``: the tightest of all."""
        bound = tightest(self.account, self.platform)
        for table, key in ((self.strategies, strategy), (self.symbols, symbol)):
            if key in table:
                bound = tightest(bound, table[key])
        return bound

    def is_allowed(self, symbol: str) -> bool:
        """Say whether ``symbol`` is in the universe."""
        return self.allow is None or symbol in self.allow

    def tightened(self, other: Limits) -> Limits:
        """Return ``other``, to bind from now on; raise ``UsageError`` if it loosens anything."""
        looser = list(self._looser(other))
        if looser:
            raise UsageError(
                f"Limits may only tighten during a run; looser now: {', '.join(looser)}."
                " Stop the run, change the file and start again."
            )
        return other

    def _looser(self, other: Limits) -> Iterator[str]:
        if other.is_research and not self.is_research:
            yield "research limits"
        yield from looser_names(self.values("", ""), other.values("", ""))
        collar, wider = self.market_collar_frac, other.market_collar_frac
        if collar is not None and (wider is None or not wider <= collar):
            yield "market_collar_frac"
        for name in sorted({*self.strategies, *other.strategies}):
            then = other.values(name, "")
            yield from (f"strategy.{name}.{n}" for n in looser_names(self.values(name, ""), then))
        for name in sorted({*self.symbols, *other.symbols}):
            then = other.values("", name)
            yield from (f"symbol.{name}.{n}" for n in looser_names(self.values("", name), then))
        if self.allow is not None and (other.allow is None or not other.allow <= self.allow):
            yield "universe.allow"
        if not other.deny >= self.deny:
            yield "universe.deny"
        if other.sectors != self.sectors:
            yield "sectors"

    def with_multiplier(self, multiplier: float) -> Limits:
        """Return the same limits with the account's multiplier, never above the present one."""
        account = tightest(self.account, NO_BOUND._replace(multiplier_max=float(multiplier)))
        return replace(self, account=account)

    def to_dict(self) -> dict[str, object]:
        """Return what binds, as plain values with sorted keys: what is logged and hashed."""
        collar = self.market_collar_frac
        collars: dict[str, object] = {} if collar is None else {"market_collar_frac": collar}
        return collars | {
            "account": tightest(self.account, self.platform)._asdict(),
            "allow": None if self.allow is None else sorted(self.allow),
            "deny": sorted(self.deny),
            "is_research": self.is_research,
            "sectors": dict(sorted(self.sectors.items())),
            "strategies": {k: self.values(k, "")._asdict() for k in sorted(self.strategies)},
            "symbols": {k: self.values("", k)._asdict() for k in sorted(self.symbols)},
        }

    @property
    def sha256(self) -> str:
        """Hash of the effective limits: equal for equal effect, whatever file wrote them."""
        text = json.dumps(_finite(self.to_dict()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        kind = "research limits" if self.is_research else "limits"
        lines = [f"{kind} sha256 {self.sha256[:16]}"]
        account = tightest(self.account, self.platform)
        lines += [f"  {name} = {value:g}" for name, value in account._asdict().items()]
        if self.market_collar_frac is not None:
            lines.append(f"  market_collar_frac = {self.market_collar_frac:g}")
        for title, table in (("strategy", self.strategies), ("symbol", self.symbols)):
            lines += [
                f"  {title}.{key}.{name} = {value:g}"
                for key, values in sorted(table.items())
                for name, value in tightest(account, values)._asdict().items()
                if value != account._asdict()[name]
            ]
        if self.allow is not None:
            lines.append(f"  universe.allow = {', '.join(sorted(self.allow))}")
        if self.deny:
            lines.append(f"  universe.deny = {', '.join(sorted(self.deny))}")
        return "\n".join(lines)


def _finite(value: object) -> object:
    """Return ``value`` with infinities as text, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and value in (INF, -INF) else value
