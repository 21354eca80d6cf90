"""What is traded: increments, calendar and what a venue allows with it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class AssetClass(StrEnum):
    """Asset classes that mqd trades."""

    EQUITY = "us_equity"
    CRYPTO = "crypto"


class Instrument(NamedTuple):
    """One tradable symbol. ``tick`` and ``lot`` are its price and quantity steps."""

    symbol: str
    tick: Decimal
    lot: Decimal
    asset_class: AssetClass = AssetClass.EQUITY
    calendar: str = "XNYS"
    shortable: bool = True
    fractionable: bool = True
