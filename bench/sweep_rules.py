"""Strategies and risk rules of ``make bench-sweep``, in a module as a user would keep them."""

# ruff: noqa: ARG001, ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

import mqd
from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.risk.limits import LimitValues
from mqd.risk.views import OrderView, PortfolioView


class SmaPair(mqd.Strategy):
    """Long while the fast mean is above the slow one, flat otherwise; any two lengths."""

    fast: int = mqd.param(20, low=2, high=300)
    slow: int = mqd.param(50, low=2, high=300)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return both means of the close."""
        return {
            "fast": indicators.sma(bars.close, self.fast),
            "slow": indicators.sma(bars.close, self.slow),
        }

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 above the slow mean, else 0."""
        return 1.0 if now.fast > now.slow else 0.0


class SmaPairExits(SmaPair):
    """The same with a stop and a target."""

    stop_loss_frac: float = mqd.param(0.05, low=0.0, high=0.5)
    take_profit_frac: float = mqd.param(0.15, low=0.0, high=0.5)


def qty(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """At most a million shares."""
    return 0.0 < order.qty <= 1e6


def notional(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """At most ten million dollars."""
    return order.notional <= 1e7


def share(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """At most twice the equity."""
    return order.notional <= 2.0 * portfolio.equity


def price(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """A price between a cent and a million dollars."""
    return 0.01 <= order.px <= 1e6


def near(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """Within half of the reference price."""
    return 0.5 * portfolio.ref_px <= order.px <= 1.5 * portfolio.ref_px


def position(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """At most a million shares held after the order."""
    return abs(portfolio.qty + order.side * order.qty) <= 1e6


def gross(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """Gross at most twice the equity."""
    return portfolio.gross <= 2.0 * portfolio.equity


def net(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """Net at most twice the equity, either way."""
    return abs(portfolio.net) <= 2.0 * portfolio.equity


def open_shares(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """At most a million shares in open orders."""
    return portfolio.open_qty <= 1e6


def cash(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """Cash not below minus the equity."""
    return portfolio.cash >= -portfolio.equity


TEN = (qty, notional, share, price, near, position, gross, net, open_shares, cash)
"""Ten rules that read the order and the account and refuse nothing here."""
