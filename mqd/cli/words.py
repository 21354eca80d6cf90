"""Options that several commands share, and what they mean to the library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from mqd.errors import UsageError, did_you_mean
from mqd.portfolio.sizer_words import sizer_of

if TYPE_CHECKING:
    from mqd import Bars
    from mqd.strategy.strategy import Strategy


@Parameter(name="*")
@dataclass(frozen=True)
class DataWords:
    """Which bars: ``--data`` and how they are read."""

    data: Path
    """File of bars, .parquet or .csv."""
    symbols: str | None = None
    """Symbols, separated by commas; all of the file when left out."""
    start: str | None = None
    """First session, such as 2010-01-04."""
    end: str | None = None
    """Last session, included."""
    adjust: Literal["none", "split", "split+dividend"] = "split"
    """What corporate actions do to prices on read."""
    dividends: Literal["yahoo", "wiki"] = "yahoo"
    """Convention of dividend adjustment."""
    calendar: str = "XNYS"
    """Exchange calendar; 24/7 for crypto."""
    tick: str | None = None
    """Price step, such as 0.01; by default 0.0001, for coins their own."""
    lot: str | None = None
    """Quantity step, such as 0.000001 for fractions of shares; by default 1."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What to do with rows that break a rule of bars."""


@Parameter(name="*")
@dataclass(frozen=True)
class CostWords:
    """What trading costs. With none of these: 1 bp slippage, regulatory fees, 50 bp borrow."""

    fee_bps: float | None = None
    """Fee, basis points of notional."""
    fee_per_share: float | None = None
    """Fee a share."""
    slippage_bps: float | None = None
    """Worsens market and stop fills, basis points."""
    borrow_bps_per_year: float | None = None
    """Cost of holding a short position, basis points a year."""


@Parameter(name="*")
@dataclass(frozen=True)
class FillWords:
    """What a simulated fill may assume."""

    participation_frac: float = 0.1
    """Largest share of a bar's volume that our fills take."""
    touch_fills: bool = False
    """A limit that is only touched fills."""
    latency_ns: int = 0
    """Delay of every order, nanoseconds."""
    close_only: bool = False
    """Admit data that hold closes only."""


@Parameter(name="*")
@dataclass(frozen=True)
class AccountWords:
    """The account and the size of its orders."""

    cash: float = 100_000
    """Starting cash, USD."""
    sizer: str = "fraction"
    """fraction, quantity=10, notional=5000, volatility=0.1 or kelly=0.5."""
    account: Literal["margin", "cash"] = "margin"
    """cash enforces settlement."""
    multiplier: int = 1
    """Buying power as a multiple of equity."""
    rebalance_band_frac: float | None = None
    """Send an order when a weight drifted further than this from its target."""
    limits: Path | None = None
    """Limits file (TOML); research limits when left out."""


COSTS, FILLS, ACCOUNT = CostWords(), FillWords(), AccountWords()
"""What holds when a command is given none of these words."""


def pairs_of(texts: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    """Return ``name=value`` texts of an option as a dict; refuse one without an equals sign."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is not name=value, such as {option} {example}.")
        if name.strip() in pairs:
            raise UsageError(f"{option} names {name.strip()!r} twice: keep one.")
        pairs[name.strip()] = value.strip()
    return pairs


def strategy_of(name: str, set_: tuple[str, ...]) -> Strategy:
    """Return the strategy that STRATEGY names, with the parameters of ``--set``."""
    from mqd.strategy.loading import parameters_from_text, resolve

    kind = resolve(name)
    return kind(**parameters_from_text(kind, pairs_of(set_, "--set", "fast=20")))


def bars_of(words: DataWords) -> Bars:
    """Load the bars that the words describe."""
    import mqd

    return mqd.load_bars(words.data, **data_words(words))


def data_words(words: DataWords) -> dict[str, Any]:
    """Return the keyword arguments of ``load_bars`` that the words say."""
    symbols = [name.strip() for name in (words.symbols or "").split(",") if name.strip()]
    names = ("start", "end", "adjust", "calendar", "dividends", "tick", "lot", "on_bad")
    return {"symbols": symbols or None} | {name: getattr(words, name) for name in names}


def workers_of(text: str | None) -> int | str | None:
    """Return ``--workers`` as the library takes it: threads, "dask" or a scheduler's address."""
    if text is None or text == "dask" or "://" in text:
        return text
    try:
        n = int(text)
    except ValueError as error:
        raise UsageError(
            f"--workers {text!r} is no number of threads, nor dask, nor the address of a Dask"
            f" scheduler, such as tcp://10.0.0.5:8786.{did_you_mean(text, ('dask',))}"
        ) from error
    if n < 1:
        raise UsageError(f"--workers {n}: name at least one thread.")
    return n


def settings_of(
    costs: CostWords, fills: FillWords, account: AccountWords, engine: str, seed: int
) -> dict[str, Any]:
    """Return the keyword arguments that ``mqd.backtest`` and others share."""
    import mqd

    own = {name: value for name, value in asdict(costs).items() if value is not None}
    return {
        "cash": account.cash,
        "sizer": sizer_of(account.sizer),
        "costs": mqd.Costs(**own) if own else None,
        "fills": mqd.FillModel(**asdict(fills)),
        "limits": mqd.Limits.from_toml(str(account.limits)) if account.limits else None,
        "account": account.account,
        "multiplier": account.multiplier,
        "rebalance_band_frac": account.rebalance_band_frac,
        "engine": engine,
        "seed": seed,
    }
