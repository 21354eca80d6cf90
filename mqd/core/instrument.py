"""What is traded. Increments come with the bars, what a venue allows with `capabilities`."""

from __future__ import annotations

from enum import StrEnum


class AssetClass(StrEnum):
    """Asset classes that mqd trades."""

    EQUITY = "us_equity"
    CRYPTO = "crypto"
