"""The configuration of the venue's process: a JSON file that only its owner may read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.settings import Settings, settings_of
from mqd.market_data.bars import Bars, load_bars
from mqd.venue.answer import SCOPES, AccountSpec
from mqd.venue.errors import VenueConfigWrong
from mqd.venue.faults import FaultPlan

_LOADING = (
    "symbols", "start", "end", "adjust", "calendar", "tick", "lot", "dividends", "on_bad",
    "timeframe", "feed",
)  # fmt: skip
_KNOWN = frozenset(
    {*_LOADING, "data", "cash", "costs", "fills", "multiplier", "account", "pace", "accounts",
     "control_token", "faults", "port", "buying_power", "rate_max", "plan", "hours"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueConfig:
    """What the process runs. ``pace`` is "step", or simulated seconds a real second.

    ``refuses_unpayable``, ``rate_max``, ``plan`` and ``keeps_hours``: see ``Venue``.
    """

    bars: Bars
    settings: Settings
    accounts: tuple[AccountSpec, ...]
    faults: FaultPlan
    pace: str | float
    control_token: str
    port: int
    refuses_unpayable: bool
    rate_max: int | None
    plan: str
    keeps_hours: bool


def read_config(path: Path) -> VenueConfig:
    """Return a file's configuration; raise ``VenueConfigWrong``, or what loading bars raises."""
    words = _read(path)
    unknown = sorted(set(words) - _KNOWN)
    if unknown:
        raise VenueConfigWrong(unknown[0], f"is unknown (known: {', '.join(sorted(_KNOWN))})")
    pace = _pace(words.get("pace", "step"))
    bars = _bars(words)
    settings = settings_of(
        bars, cash=Decimal(str(words.get("cash", "100000"))), costs=_made(words, "costs", Costs),
        fills=_made(words, "fills", FillModel), multiplier=words.get("multiplier", 1),
        account=words.get("account", "margin"),
    )  # fmt: skip
    buying_power = words.get("buying_power", "trim" if pace == "step" else "refuse")
    if buying_power not in ("trim", "refuse"):
        raise VenueConfigWrong("buying_power", f"is {buying_power!r}; write trim or refuse")
    hours = words.get("hours", "replay" if pace == "step" else "alpaca")
    if hours not in ("replay", "alpaca"):
        raise VenueConfigWrong("hours", f"is {hours!r}; write replay or alpaca")
    plan = words.get("plan", "paid")
    if plan not in ("free", "paid"):
        raise VenueConfigWrong("plan", f"is {plan!r}; write free or paid")
    return VenueConfig(
        bars=bars, settings=settings, accounts=_accounts(words.get("accounts")),
        faults=FaultPlan.from_dict(words.get("faults")), pace=pace,
        control_token=str(words.get("control_token") or ""),
        port=_whole(words.get("port", 0), "port", 65535),
        refuses_unpayable=buying_power == "refuse",
        rate_max=_rate(words.get("rate_max", None if pace == "step" else 200)),
        plan=plan, keeps_hours=hours == "alpaca",
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; refuse one that others can read."""
    try:
        about = os.lstat(path)
    except OSError as error:
        raise VenueConfigWrong(path.name, f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
        raise VenueConfigWrong(path.name, "is no plain file of this user")
    if about.st_mode & 0o077:
        raise VenueConfigWrong(path.name, "can be read by others; it holds keys: chmod 600")
    try:
        words = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except ValueError as error:
        raise VenueConfigWrong(path.name, "is no JSON") from error
    if not isinstance(words, dict):
        raise VenueConfigWrong(path.name, "holds no JSON object")
    return words


def _pace(given: object) -> str | float:
    if given == "step":
        return "step"
    number = isinstance(given, int | Decimal) and not isinstance(given, bool)
    if not number or not 0 < float(str(given)) <= 1e6:
        raise VenueConfigWrong("pace", f"is {given!r}; write 'step' or a factor above 0")
    return float(str(given))


def _bars(words: Mapping[str, Any]) -> Bars:
    if not isinstance(words.get("data"), str):
        raise VenueConfigWrong("data", "must be the path of a file of bars")
    loading = {name: words[name] for name in _LOADING if words.get(name) is not None}
    for name in ("tick", "lot"):
        if isinstance(loading.get(name), str):
            loading[name] = Decimal(loading[name])
        elif isinstance(loading.get(name), dict):
            loading[name] = {one: Decimal(str(step)) for one, step in loading[name].items()}
    return load_bars(words["data"], **loading)


def _made(words: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """Return a group of assumptions, None for the default."""
    given = words.get(name)
    if given is None:
        return None
    try:
        return kind(**{key: _plain(value) for key, value in given.items()})
    except (TypeError, AttributeError) as error:
        raise VenueConfigWrong(name, f"cannot be read ({error})") from error


def _plain(value: object) -> object:
    """Return numbers as the assumptions take them; lists as tuples of tuples."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return tuple(_plain(one) for one in value)
    return value


def _accounts(given: object) -> tuple[AccountSpec, ...]:
    try:
        assert isinstance(given, list)
        return tuple(
            AccountSpec(
                str(one["id"]), str(one["number"]),
                tuple((str(key), str(secret)) for key, secret in one["keys"]),
                _scopes(one.get("scopes")),
            )
            for one in given
        )  # fmt: skip
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise VenueConfigWrong(
            "accounts", 'must be a list of {"id", "number", "keys": [[key id, secret]]}'
        ) from error


def _scopes(given: object) -> frozenset[str]:
    if given is None:
        return SCOPES
    if not isinstance(given, list) or not set(given) <= SCOPES:
        raise VenueConfigWrong("accounts", f"has scopes {given!r}; known: {sorted(SCOPES)}")
    return frozenset(given)


def _whole(given: object, name: str, most: int) -> int:
    if type(given) is not int or not 0 <= given <= most:
        raise VenueConfigWrong(name, f"is {given!r}; it must be from 0 to {most}")
    return given


def _rate(given: object) -> int | None:
    return None if given is None else _whole(given, "rate_max", 10**9)
