"""The configuration of a paper or live desk: what trades, on which account, with which limits.

A file ``live/config/NAME.toml`` with a few keys and the tables ``[parameters]``, ``[universe]``,
``[orders]`` and ``[account]``; ``live/config/sample_paper.toml`` explains each key. Paths are
relative to the file, ``~`` is the home.

Whatever could be a slip is refused with the line it stands on: no key has a silent meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, cast

from mqd.errors import BadLimits, MqdError, UsageError, did_you_mean
from mqd.live.toml_file import TomlFile
from mqd.market_data.loading import timeframe_ns
from mqd.portfolio.sizer_words import sizer_of
from mqd.portfolio.sizing import Sizer
from mqd.risk.limits import Limits
from mqd.strategy.loading import resolve
from mqd.strategy.strategy import Strategy

Trading = Literal["paper", "live"]

ENDPOINTS: Final = {
    "paper": "https://paper-api.alpaca.markets",
    "live": "https://api.alpaca.markets",
}
DATA_ENDPOINT: Final = "https://data.alpaca.markets"
LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|localhost):[0-9]{1,5}")
FEEDS: Final = ("iex", "sip")
CALENDARS: Final = ("XNYS", "24/7")
SYMBOL: Final = re.compile(r"[A-Z][A-Z0-9]{0,9}([./][A-Z]{1,5})?")
KEYS: Final = {
    "": {"mode", "strategy", "allocation", "state", "promotion"},
    "universe": {"symbols", "timeframe", "calendar", "tick", "lot", "feed", "anchor"},
    "orders": {"sizer", "limits", "multiplier", "rebalance_band_frac"},
    "account": {
        "endpoint", "data_endpoint", "account_sha256", "keys_file", "keys_env",
        "equity_usd_min", "equity_usd_max",
    },
}  # fmt: skip
WHY: Final = {
    "limits": " No desk starts without limits; see live/limits.",
    "promotion": " Only a promoted strategy trades: 'mqd promote' writes its record.",
    "account_sha256": " It pins the account: printf %s ACCOUNT_ID | sha256sum.",
}
TABLES: Final = ("parameters", "universe", "orders", "account")


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """A configuration that passed every check of its form; prices and money are USD.

    ``account_sha256`` is the hash of the account's id, ``keys_file`` or ``keys_env`` (two names
    of the environment: key id, secret) say where keys are, ``equity_usd`` the band (least, most)
    that the account's equity must lie in at the start. ``limits_file`` was read into ``limits``.
    """

    file: Path
    mode: Trading
    strategy: str
    parameters: dict[str, Any]
    allocation: float
    symbols: tuple[str, ...]
    timeframe: str
    calendar: str
    tick: Decimal
    lot: Decimal
    feed: str
    anchor: date
    sizer: str
    limits: Limits
    limits_file: Path
    multiplier: int
    rebalance_band_frac: float | None
    endpoint: str
    data_endpoint: str
    account_sha256: str
    keys_file: Path | None
    keys_env: tuple[str, str] | None
    equity_usd: tuple[Decimal, Decimal]
    state: Path
    promotion: Path | None

    def make_strategy(self) -> Strategy:
        """Return the strategy with its parameters; raise ``StrategyError`` as it does."""
        return resolve(self.strategy)(**self.parameters)

    def make_sizer(self) -> Sizer:
        """Return the sizer."""
        return sizer_of(self.sizer)

    def effective(self) -> dict[str, Any]:
        """Return what decides the trading, JSON-ready: no path of this machine, no key."""
        return {
            "mode": self.mode, "strategy": self.strategy, "parameters": dict(self.parameters),
            "allocation": self.allocation, "symbols": list(self.symbols),
            "timeframe": self.timeframe, "calendar": self.calendar, "tick": str(self.tick),
            "lot": str(self.lot), "feed": self.feed, "anchor": self.anchor.isoformat(),
            "sizer": repr(self.make_sizer()), "limits": self.limits.sha256,
            "multiplier": self.multiplier, "rebalance_band_frac": self.rebalance_band_frac,
            "endpoint": self.endpoint, "data_endpoint": self.data_endpoint,
            "account_sha256": self.account_sha256,
            "equity_usd": [str(bound) for bound in self.equity_usd],
        }  # fmt: skip

    @property
    def sha256(self) -> str:
        """The hash of the effective configuration: equal for equal effect."""
        text = json.dumps(self.effective(), sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def read_config(path: str | Path, *, rehearsal: bool = False) -> LiveConfig:
    """Return the configuration in ``path``.

    ``rehearsal=True`` is for a desk that talks to the venue on this machine: the endpoint may be
    a loopback address, and a promotion record may be left out. Raises ``BadLiveConfig`` with the
    line of the first mistake, ``BadLimits`` for the limits file.
    """
    file = Path(path)
    return _Reader(TomlFile(file), file.absolute().parent, rehearsal=rehearsal).config(file)


class _Reader:
    """One file and the steps that read it."""

    def __init__(self, toml: TomlFile, folder: Path, *, rehearsal: bool) -> None:
        self.toml, self.folder, self.rehearsal = toml, folder, rehearsal
        self.bad = toml.bad

    def config(self, file: Path) -> LiveConfig:
        top = {k: v for k, v in self.toml.tables.items() if k not in TABLES}
        self.toml.refuse_unknown("", top, KEYS[""] | set(TABLES))
        for name in TABLES[1:]:
            self.toml.refuse_unknown(name, self.toml.table(name), KEYS[name])
        mode = cast("Trading", self.one_of("", "mode", ("paper", "live")))
        symbols = self.symbols()
        limits_file = self.path("orders", "limits")
        endpoint = self.endpoint(mode)
        return LiveConfig(
            file=file, mode=mode, strategy=self.strategy(),
            parameters=self.parameters(), allocation=self.fraction("", "allocation", "1"),
            symbols=symbols, timeframe=self.timeframe(),
            calendar=self.one_of("universe", "calendar", CALENDARS, "XNYS"),
            tick=self.step("tick", "0.0001"), lot=self.step("lot", "1"),
            feed=self.one_of("universe", "feed", FEEDS, "iex"), anchor=self.anchor(),
            sizer=self.sizer(), limits=self.limits(limits_file, symbols),
            limits_file=limits_file, multiplier=self.multiplier(), rebalance_band_frac=self.band(),
            endpoint=endpoint, data_endpoint=self.data_endpoint(endpoint),
            account_sha256=self.account_sha256(), keys_file=self.keys_file(),
            keys_env=self.keys_env(), equity_usd=self.equity_usd(), state=self.path("", "state"),
            promotion=self.promotion(),
        )  # fmt: skip

    # --- texts, numbers and paths --------------------------------------------------------------

    def value(self, table: str, key: str, default: Any = None) -> Any:
        found = self.toml.tables if not table else self.toml.table(table)
        value = found.get(key, default)
        if value is None:
            place = f"[{table}] " if table else ""
            raise self.bad(table, key, f"{place}{key} is missing.{WHY.get(key, '')}")
        return value

    def text(self, table: str, key: str, default: str | None = None) -> str:
        value = self.value(table, key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(table, key, f"{key} = {value!r} must be a text that is not empty.")
        return value.strip()

    def one_of(
        self, table: str, key: str, known: tuple[str, ...], default: str | None = None
    ) -> str:
        value = self.text(table, key, default)
        if value not in known:
            raise self.bad(table, key, f"{key} = {value!r}.{did_you_mean(value, known)}")
        return value

    def path(self, table: str, key: str) -> Path:
        text = self.text(table, key)
        try:
            return self.folder / Path(text).expanduser()
        except RuntimeError as error:  # ~NAME of nobody
            raise self.bad(table, key, f"{key} = {text!r}: {error}") from error

    def number(self, table: str, key: str, default: str | None = None) -> Decimal:
        value = self.value(table, key, None if default is None else Decimal(default))
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.bad(table, key, f"{key} = {value!r} must be a plain number.")
        number = Decimal(value)
        if not number.is_finite() or number <= 0:
            raise self.bad(table, key, f"{key} = {value} must be above 0.")
        return number

    def fraction(self, table: str, key: str, default: str | None = None) -> float:
        number = self.number(table, key, default)
        if number > 1:
            raise self.bad(
                table, key, f"{key} = {number} is above 1. It is a fraction: 0.05 is one twentieth."
            )
        return float(number)

    # --- what trades ---------------------------------------------------------------------------

    def strategy(self) -> str:
        """Return what names the strategy; a file's path is relative to this configuration."""
        text = self.text("", "strategy")
        file, colon, name = text.rpartition(":")
        return f"{self.folder / file}{colon}{name}" if file.endswith(".py") else text

    def parameters(self) -> dict[str, Any]:
        """Return the strategy's parameters, after it was found and has taken them."""
        given = self.toml.table("parameters")
        words = {k: float(v) if isinstance(v, Decimal) else v for k, v in given.items()}
        try:
            kind = resolve(self.strategy())
        except MqdError as error:
            raise self.bad("", "strategy", str(error)) from error
        try:
            return dict(kind(**words).parameters)
        except MqdError as error:
            named = next((key for key in given if re.search(rf"\b{key}\b", str(error))), "")
            raise self.bad("parameters", named, str(error)) from error

    def symbols(self) -> tuple[str, ...]:
        names = self.value("universe", "symbols")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.bad("universe", "symbols", 'symbols must be a list: ["MSFT", "IBM"].')
        if not names:
            raise self.bad("universe", "symbols", "the universe is empty: nothing would trade.")
        for name in names:
            if not SYMBOL.fullmatch(name):
                raise self.bad("universe", "symbols", f"{name!r} is no symbol, such as MSFT.")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.bad("universe", "symbols", f"{twice} is listed twice.")
        return tuple(names)

    def timeframe(self) -> str:
        text = self.text("universe", "timeframe")
        try:
            timeframe_ns(text)
        except UsageError as error:
            raise self.bad("universe", "timeframe", str(error)) from error
        return text

    def step(self, key: str, default: str) -> Decimal:
        value = self.value("universe", key, default)
        try:
            step = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal(0)
        except ArithmeticError:
            step = Decimal(0)
        if isinstance(value, bool) or not (step.is_finite() and 0 < step <= 1):
            raise self.bad("universe", key, f'{key} = {value!r} must be a step, such as "0.01".')
        return step

    def anchor(self) -> date:
        value = self.value("universe", "anchor")
        if type(value) is not date:
            said = f"anchor = {value} must be the first session of the warm-up: 2024-01-02."
            raise self.bad("universe", "anchor", said)
        return value

    # --- how it trades -------------------------------------------------------------------------

    def sizer(self) -> str:
        text = self.text("orders", "sizer", "fraction")
        try:
            sizer_of(text)
        except MqdError as error:
            raise self.bad("orders", "sizer", str(error)) from error
        return text

    def limits(self, file: Path, symbols: tuple[str, ...]) -> Limits:
        try:
            limits = Limits.from_toml(str(file))
        except BadLimits as error:
            if error.line:
                raise
            raise self.bad("orders", "limits", str(error)) from error
        for symbol in symbols:
            if (limits.allow is not None and symbol not in limits.allow) or symbol in limits.deny:
                why = f"{symbol} may not be traded by {file}: its universe does not allow it."
                raise self.bad("orders", "limits", why)
        return limits

    def multiplier(self) -> int:
        value = self.value("orders", "multiplier", 1)
        if type(value) is not int or not 1 <= value <= 4:
            raise self.bad("orders", "multiplier", f"multiplier = {value} must be 1, 2, 3 or 4.")
        return value

    def band(self) -> float | None:
        if "rebalance_band_frac" not in self.toml.table("orders"):
            return None
        return self.fraction("orders", "rebalance_band_frac")

    # --- on which account ----------------------------------------------------------------------

    def endpoint(self, mode: Trading) -> str:
        """Return the address of REST; only that of the mode passes, or loopback in a rehearsal."""
        url = self.text("account", "endpoint", ENDPOINTS[mode])
        if url == ENDPOINTS[mode] or (self.rehearsal and LOOPBACK.fullmatch(url)):
            return url
        if url.endswith("/"):
            raise self.bad("account", "endpoint", f"endpoint = {url!r} ends with a slash; drop it.")
        if LOOPBACK.fullmatch(url):
            why = "is this machine: that is for a rehearsal (mqd rehearse)"
        elif url in ENDPOINTS.values():
            why = f"is not that of {mode} trading; mode and endpoint must agree"
        else:
            why = f"is unknown; {mode} trading is at {ENDPOINTS[mode]}"
        raise self.bad("account", "endpoint", f"endpoint = {url!r} {why}.")

    def data_endpoint(self, endpoint: str) -> str:
        default = endpoint if LOOPBACK.fullmatch(endpoint) else DATA_ENDPOINT
        url = self.text("account", "data_endpoint", default)
        if url != default:
            why = f"data_endpoint = {url!r}, but market data of this account are at {default}."
            raise self.bad("account", "data_endpoint", why)
        return url

    def account_sha256(self) -> str:
        text = self.text("account", "account_sha256").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise self.bad(
                "account", "account_sha256",
                "account_sha256 must be 64 hex digits, the hash of the account's id:"
                " printf %s ACCOUNT_ID | sha256sum.",
            )  # fmt: skip
        return text

    def keys_file(self) -> Path | None:
        account = self.toml.table("account")
        if ("keys_file" in account) == ("keys_env" in account):
            where = "keys_env" if "keys_env" in account else "keys_file"
            raise self.bad(
                "account", where,
                'name keys_file = "PATH" or keys_env = ["ID_NAME", "SECRET_NAME"], one of both.',
            )  # fmt: skip
        return self.path("account", "keys_file") if "keys_file" in account else None

    def keys_env(self) -> tuple[str, str] | None:
        if "keys_env" not in self.toml.table("account"):
            return None
        match self.value("account", "keys_env"):
            case [str(key_id), str(secret)] if _is_name(key_id) and _is_name(secret):
                return key_id, secret
            case _:
                # the value is not repeated: somebody may have written the keys themselves
                why = "keys_env must be two names of the environment, not the keys themselves."
                raise self.bad("account", "keys_env", why)

    def equity_usd(self) -> tuple[Decimal, Decimal]:
        least = self.number("account", "equity_usd_min")
        most = self.number("account", "equity_usd_max")
        if least >= most:
            why = f"equity_usd_min = {least} must be below equity_usd_max = {most}."
            raise self.bad("account", "equity_usd_min", why)
        return least, most

    def promotion(self) -> Path | None:
        if self.rehearsal and "promotion" not in self.toml.tables:
            return None
        return self.path("", "promotion")


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Z][A-Z0-9_]{2,60}", text) is not None
