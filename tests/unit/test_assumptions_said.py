"""What a result says of what it took for granted: costs off the US market, closes, ruin."""

from __future__ import annotations

import pandas as pd
import pytest

import mqd
from mqd.errors import UsageError


class Holds(mqd.Strategy):
    """Always at one weight."""

    weight: float = mqd.param(1.0, low=-1, high=1)

    def decide(self, now, position):
        """Return the weight."""
        return self.weight


def some_bars(closes, calendar="XNYS", *, only=False):
    """Return daily bars of the closes."""
    days = pd.bdate_range("2024-03-04", periods=len(closes), tz="UTC")
    frame = pd.DataFrame({"symbol": "X", "timestamp": days, "close": closes})
    if not only:
        frame["open"] = frame["high"] = frame["low"] = frame["close"]
        frame["volume"] = 1e7
    return mqd.Bars.from_pandas(frame, calendar=calendar)


def said(result):
    """Return the assumptions as a dict."""
    return dict(result.assumptions)


NO_FEE = "No fee is charged: name your venue's with mqd.Costs(fee_bps=...)."
NO_VOLUME = "The data hold no volume: fills are not capped by it."
CLOSES = "The data hold closes only: opens, highs and lows are the close."


@pytest.mark.parametrize(
    ("calendar", "fees", "silent"), [("XNYS", True, True), ("XHKG", False, False)]
)
def test_regulatory_fees_are_those_of_us_equities_alone(calendar, fees, silent):
    class Leaves(mqd.Strategy):
        def decide(self, now, position):
            return 1.0 if now.close < 12.0 else 0.0

    result = mqd.backtest(Leaves(), some_bars([10.0, 11.0, 12.0, 13.0, 14.0], calendar))
    assert len(result.fills) == 2
    assert (result.figures["fees_usd"] > 0) is fees
    assert (NO_FEE not in said(result)) is silent


def test_closes_without_volume_fill_when_that_is_accepted_and_it_is_said():
    bars = some_bars([10.0, 11.0, 12.0], only=True)
    with pytest.raises(UsageError, match="holds closes only"):
        mqd.backtest(Holds(), bars)
    closes = mqd.FillModel(close_only=True)
    result = mqd.backtest(Holds(), bars, fills=closes, costs=mqd.Costs())
    assert result.fills["px"].tolist() == [11.0]
    assert NO_VOLUME in said(result)
    assert CLOSES in said(result)
    whole = mqd.backtest(Holds(), some_bars([10.0, 11.0, 12.0]), fills=closes)
    assert NO_VOLUME not in said(whole)
    assert CLOSES not in said(whole)


def test_ruin_and_rejections_are_counted():
    bars = some_bars([10.0, 10.0, 15.0, 25.0, 26.0])
    short = mqd.backtest(Holds(weight=-1.0), bars, costs=mqd.Costs())
    assert said(short)["Closes with no equity left: no margin call was simulated."] == 2
    rejected = mqd.backtest(Holds(weight=-1.0), bars, account="cash")
    assert said(rejected)["Orders that the venue rejected."] == len(rejected.orders) > 0
