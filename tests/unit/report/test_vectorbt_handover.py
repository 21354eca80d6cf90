"""A vbt.Portfolio made from our fills carries our equity, with its own settings untouched."""

import dataclasses
import warnings

import numpy as np
import pytest

from mqd.errors import UsageError
from mqd.report.vectorbt import to_vectorbt
from tests.unit.report.made_up import report_data

pytestmark = pytest.mark.filterwarnings("ignore")


def test_portfolio_equals_the_ledger() -> None:
    import vectorbt as vbt

    data = report_data(120)
    assert data.fills.groupby(["ts_known", "symbol"]).size().max() == 2
    widgets, year = vbt.settings["plotting"]["use_widgets"], vbt.settings["returns"]["year_freq"]

    portfolio = to_vectorbt(data)

    assert isinstance(portfolio, vbt.Portfolio)
    np.testing.assert_allclose(portfolio.value(), data.equity["equity"], rtol=1e-12)
    np.testing.assert_allclose(portfolio.cash(), data.equity["cash"], rtol=1e-12)
    assert portfolio.orders.count() == len(data.fills)
    assert portfolio.sharpe_ratio() == pytest.approx(data.metrics["sharpe"], rel=1e-9)
    assert portfolio.max_drawdown() == pytest.approx(data.metrics["max_drawdown_frac"], rel=1e-9)
    stats = portfolio.stats(["sharpe_ratio", "end_value"])
    assert stats["Sharpe Ratio"] == pytest.approx(data.metrics["sharpe"], rel=1e-9)
    figure = portfolio.plot(subplots=["cum_returns"])
    assert type(figure).__name__ == "Figure"
    assert vbt.settings["plotting"]["use_widgets"] == widgets
    assert vbt.settings["returns"]["year_freq"] == year


def test_what_cannot_be_carried_is_said() -> None:
    data = report_data(20)
    paid = data.costs["fees"]
    data = dataclasses.replace(data, costs={"dividends": 84.0, "borrow": 0.0, "fees": paid + 1.5})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_vectorbt(data)
    said = [str(warning.message) for warning in caught if "carry" in str(warning.message)]
    assert len(said) == 1
    assert "carry dividends 84.00 USD, fees charged by the day 1.50 USD: its equity" in said[0]


def test_a_run_of_fills_alone_leaves_nothing_out() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_vectorbt(report_data(20))
    assert not [warning for warning in caught if "carry" in str(warning.message)]


def test_a_fill_that_cannot_be_marked_is_refused() -> None:
    data = report_data(40)
    with pytest.raises(UsageError, match="No prices for BBB"):
        to_vectorbt(dataclasses.replace(data, prices={"AAA": data.prices["AAA"]}))
    with pytest.raises(UsageError, match="later than the last bar"):
        to_vectorbt(dataclasses.replace(data, equity=data.equity.iloc[:10]))
    with pytest.raises(UsageError, match="two bars"):
        to_vectorbt(dataclasses.replace(data, equity=data.equity.iloc[:1]))
