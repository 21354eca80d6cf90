# %% [markdown]
# # 01 First backtest
#
# Load real bars, replay a strategy over them, read what came of it. Nothing is downloaded: the
# bars are committed beside this notebook.

# %%
import plotly.io

import mqd
from mqd.strategy.library.sma_cross import SmaCross

plotly.io.renderers.default = "plotly_mimetype"
DAILY = "../datasets/us_equity_daily_raw.parquet"

# %% [markdown]
# `load_bars` refuses bars that cannot be right, and adjusts prices for splits by default.

# %%
bars = mqd.load_bars(DAILY, symbols=["AAPL", "IBM"], start="2006-01-03")
bars

# %% [markdown]
# `SmaCross` is long while its fast mean is above the slow one, each share with half of the equity.
# A decision at a close fills at the next open, with Alpaca's fees and 1 bp of slippage. An order
# that the cash does not cover is refused, not cut: that happens here when the other share has
# gained.

# %%
result = mqd.backtest(SmaCross(fast=20, slow=100), bars, cash=100_000)
result

# %% [markdown]
# `metrics` is a Series of pandas; orders, fills and trades are frames.

# %%
result.trades[["symbol", "entry_ts", "exit_ts", "entry_px", "exit_px", "pnl_usd"]].head()

# %%
result.metrics[["sharpe", "max_drawdown_frac", "turnover_frac", "n_trades", "win_rate_frac"]]

# %% [markdown]
# Equity, drawdown, and one share with its trades in one picture. `result.report("out.html")` writes
# a whole page.

# %%
result.plot()
