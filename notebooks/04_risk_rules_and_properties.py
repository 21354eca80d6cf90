# %% [markdown]
# # 04 Risk rules and properties
#
# A risk rule is a pure function of numbers: True lets an order pass. It is tested with laws, not
# with examples; a wrong rule comes back with a small program that shows the fault.

# %%
import contextlib
import io

import plotly.graph_objects as go
import plotly.io

import mqd
from mqd.report.plots import style
from mqd.risk.limits import LimitValues
from mqd.strategy.library.sma_cross import SmaCross

plotly.io.renderers.default = "plotly_mimetype"


# %%
@mqd.rule(limit="position_qty_max", observes=lambda order, portfolio: order.qty)
def position_size(order, portfolio, limits):
    """Filled, working and new shares together stay within the limit."""
    worst = portfolio.qty + order.side * (portfolio.open_qty + order.qty)
    return abs(worst) <= limits.position_qty_max


report = mqd.testing.check_risk_rule(position_size)

# %% [markdown]
# This one forgets the orders that still work. The law P12 finds it; the table is left out here.


# %%
@mqd.rule(limit="position_qty_max", observes=lambda order, portfolio: order.qty)
def forgets_open_orders(order, portfolio, limits):
    return abs(portfolio.qty + order.side * order.qty) <= limits.position_qty_max


try:
    with contextlib.redirect_stdout(io.StringIO()):
        mqd.testing.check_risk_rule(forgets_open_orders)
except AssertionError as error:
    print("broken:", ", ".join(error.report.broken))
    print(error.snippets[0])

# %% [markdown]
# Limits of a desk in a replay: the same rules that guard paper and live. A drawdown beyond the
# limit sets a latch; from there on only orders that reduce risk pass, until a person lifts it. In a
# replay nobody does: the desk sells what it holds and stays out.

# %%
bars = mqd.load_bars("../datasets/us_equity_daily_raw.parquet", symbols=["AAPL", "IBM"])
strategy = SmaCross(fast=20, slow=100)
limits = mqd.Limits(account=LimitValues(
    drawdown_frac_max=0.10, notional_usd_max=100_000.0, notional_frac_max=0.6,
    position_frac_max=0.7, concentration_frac_max=0.8, sector_unknown_frac_max=1.0,
    buying_power_frac_max=1.0, daily_loss_frac_max=0.2,
))
free = mqd.backtest(strategy, bars, engine="event")
guarded = mqd.backtest(strategy, bars, limits=limits, engine="event")
for name, run in (("research limits", free), ("desk limits", guarded)):
    m = run.metrics
    print(f"{name:>16}: drawdown {m['max_drawdown_frac']:.1%}, orders {m['n_orders']:.0f}, "
          f"refused {m['n_denied']:.0f}")

# %% [markdown]
# The drawdown is 12.0 % and not the limit's 10 %: the latch stops orders that add risk, and the
# position was sold when the strategy sold it.

# %%
figure = go.Figure()
for name, run in (("research limits", free), ("desk limits", guarded)):
    equity = run.equity["equity"].iloc[::5]
    figure.add_scatter(x=equity.index, y=equity, name=name, mode="lines")
figure.update_yaxes(title_text="equity, USD", tickformat=",.0f")
style(figure, 420, "A drawdown latch stops new risk", legend=True)
