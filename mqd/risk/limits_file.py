"""Reads a limits file. Whatever could be a slip is refused, with the line it stands on."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from mqd.core.clock import NS_PER_DAY
from mqd.core.money import BPS_UNITS
from mqd.errors import BadLimits, did_you_mean
from mqd.risk.limits import NAMES, NO_BOUND, Limits, LimitValues

TABLES = ("account", "platform", "strategy", "symbol", "universe", "sectors")

FRACTION_LARGEST = {
    "volume_frac_max": 1.0,
    "notional_frac_max": 4.0,
    "position_frac_max": 4.0,
    "gross_frac_max": 4.0,
    "net_frac_max": 4.0,
    "concentration_frac_max": 4.0,
    "sector_frac_max": 4.0,
    "sector_unknown_frac_max": 4.0,
    "buying_power_frac_max": 1.0,
    "daily_loss_frac_max": 0.5,
    "drawdown_frac_max": 0.9,
    "bad_tick_frac_max": 1.0,
    "margin_long_frac_min": 1.0,
    "margin_short_frac_min": 1.0,
    "margin_equity_frac_max": 1.0,
    "turnover_frac_max": 100.0,
}
"""A fraction above this is taken for a slip (5 where 0.05 was meant)."""

MULTIPLIER_LARGEST = 4.0
COLLAR = "market_collar_frac"
COLLAR_LARGEST = 0.2


def read_limits(path: str | Path) -> Limits:
    """Return the limits in ``path``; raise ``BadLimits`` with the line of the first mistake."""
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadLimits(file, 0, f"the file cannot be read ({error}). No order is sent.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = int(line[1]) if line else text.count("\n") + 1
        raise BadLimits(file, where, f"this is no TOML: {error}.") from error
    return _Reader(file, text).limits(tables)


class _Reader:
    """One file: its name and text for messages, and the steps that read it."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.lines = file, text.splitlines()

    def limits(self, tables: Mapping[str, object]) -> Limits:
        for name in tables:
            if name not in TABLES:
                raise self.bad("", name, f"unknown table {name!r}.{did_you_mean(name, TABLES)}")
        universe = self.table(tables, "universe")
        for key in universe:
            if key not in ("allow", "deny"):
                known = did_you_mean(key, ("allow", "deny"))
                raise self.bad("universe", key, f"unknown key {key!r}.{known}")
        allow = self.symbols(universe, "allow") if "allow" in universe else None
        if allow is not None and not allow:
            raise self.bad("universe", "allow", "the universe is empty: nothing could be traded.")
        account = dict(self.table(tables, "account"))
        collar = self.collar(account.pop(COLLAR)) if COLLAR in account else None
        return Limits(
            account=self.values(account, "account", LimitValues()),
            platform=self.values(self.table(tables, "platform"), "platform", NO_BOUND),
            strategies=self.each(tables, "strategy"),
            symbols=self.each(tables, "symbol"),
            allow=allow,
            deny=self.symbols(universe, "deny"),
            sectors=self.sectors(self.table(tables, "sectors")),
            market_collar_frac=collar,
        )

    def collar(self, value: object) -> float:
        """Return the collar of market orders; 0 sends limits at the last price."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.bad("account", COLLAR, f"{COLLAR} = {value!r} must be a plain number.")
        if not 0 <= value <= COLLAR_LARGEST:
            hint = f"a fraction of the price in [0, {COLLAR_LARGEST}]; 0.005 is 5 parts in 1,000"
            raise self.bad("account", COLLAR, f"{COLLAR} = {value} must be {hint}.")
        if Fraction(repr(value)) * BPS_UNITS % 1:
            raise self.bad("account", COLLAR, f"{COLLAR} = {value}: write at most 8 decimals.")
        return float(value)

    def table(self, tables: Mapping[str, object], name: str) -> dict[str, object]:
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise self.bad("", name, f"{name} must be a table: write [{name}] above its keys.")
        return table

    def each(self, tables: Mapping[str, object], name: str) -> dict[str, LimitValues]:
        found = self.table(tables, name)
        return {
            key: self.values(self.table(found, key), f"{name}.{key}", NO_BOUND) for key in found
        }

    def values(self, table: dict[str, object], where: str, base: LimitValues) -> LimitValues:
        numbers = {key: self.number(key, value, where) for key, value in table.items()}
        return base._replace(**numbers)

    def number(self, key: str, value: object, where: str) -> float:
        if key not in NAMES:
            raise self.bad(where, key, f"unknown limit {key!r}.{did_you_mean(key, NAMES)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.bad(where, key, f"{key} = {value!r} must be a plain number in {_unit(key)}.")
        number = float(value)
        if not math.isfinite(number):
            raise self.bad(where, key, f"{key} = {value} binds nothing or everything.")
        if number < 0:
            raise self.bad(where, key, f"{key} = {value} is negative.")
        self.plausible(key, number, where)
        return number

    def plausible(self, key: str, number: float, where: str) -> None:
        largest = FRACTION_LARGEST.get(key, math.inf)
        if number > largest:
            hint = f"{key} is a fraction: 0.05 is one twentieth"
            raise self.bad(where, key, f"{key} = {number:g} is above {largest:g}. {hint}.")
        if key == "multiplier_max" and not 0 < number <= MULTIPLIER_LARGEST:
            raise self.bad(where, key, f"{key} = {number:g} is not in (0, {MULTIPLIER_LARGEST}].")
        if "_ns_" in key and number > 30 * NS_PER_DAY:
            raise self.bad(where, key, f"{key} = {number:g} ns is more than 30 days.")
        if key == "same_order_age_ns_min" and number > NS_PER_DAY:
            raise self.bad(where, key, f"{key} = {number:g} ns is more than a day.")

    def symbols(self, universe: Mapping[str, object], key: str) -> frozenset[str]:
        names = universe.get(key, [])
        if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
            raise self.bad("universe", key, f'{key} must be a list of symbols: ["AAPL", "IBM"].')
        return frozenset(names)

    def sectors(self, table: Mapping[str, object]) -> dict[str, str]:
        for symbol, name in table.items():
            if not isinstance(name, str) or not name:
                raise self.bad("sectors", symbol, f"{symbol} = {name!r} must name a sector.")
        return {symbol: str(name) for symbol, name in table.items()}

    def bad(self, table: str, key: str, what: str) -> BadLimits:
        return BadLimits(self.file, self.line_of(table, key), what)

    def line_of(self, table: str, key: str) -> int:
        """Return the line of ``key`` in ``[table]``, or of the header itself, counted from 1."""
        inside = ""
        wanted = re.compile(rf"""^\s*["']?{re.escape(key)}["']?\s*(=|\.)""")
        for number, line in enumerate(self.lines, 1):
            header = re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line)
            if header:
                inside = re.sub(r"[\"'\s]", "", header[1])
                if not table and inside.split(".")[0] == key:
                    return number
            elif inside == table and wanted.match(line):
                return number
        return 1


UNITS = {
    "_usd_": "USD",
    "_frac_": "fractions",
    "_ns_": "nanoseconds",
    "qty": "shares",
    "_s_": "orders a second",
    "_min_": "counts a minute",
}


def _unit(key: str) -> str:
    return next((unit for part, unit in UNITS.items() if part in key), "units of its name")
