# %% [markdown]
# # 02 A strategy of your own
#
# A strategy is a class: features over all bars, a rule for one bar. This one buys weakness inside
# an uptrend. The same object is swept, replayed, rehearsed and traded.

# %%
import textwrap

import plotly.graph_objects as go
import plotly.io

import mqd
from mqd.report.plots import style

plotly.io.renderers.default = "plotly_mimetype"
bars = mqd.load_bars("../datasets/us_equity_daily_raw.parquet", symbols=["AAPL", "IBM", "MSFT"])


# %%
class Pullback(mqd.Strategy):
    """Buys weakness inside an uptrend; sells when it has recovered, or after a month."""

    trend: int = mqd.param(200, low=20, high=400)
    buy_below: float = mqd.param(35.0, low=1.0, high=50.0)

    def features(self, bars):
        return {"rsi": mqd.indicators.rsi(bars.close, 5),
                "mean": mqd.indicators.sma(bars.close, self.trend)}

    def decide(self, now, position):
        if now.rsi < self.buy_below and now.close > now.mean:
            return 1.0
        if now.rsi > 60.0 or position.bars_held > 20:
            return 0.0
        return mqd.HOLD


# %% [markdown]
# A misspelt parameter is an error with a hint, not a silent default.

# %%
try:
    Pullback(trned=150)
except mqd.errors.StrategyError as error:
    print(error)

# %% [markdown]
# `mqd.check` looks for lookahead, hidden state, chance and differences between the engines. Run it
# before you believe a result.

# %%
mqd.check(Pullback(), bars)

# %% [markdown]
# A feature that reads tomorrow is found, with the bar at which it shows.


# %%
class Leaky(Pullback):
    """Looks at tomorrow's close."""

    def features(self, bars):
        tomorrow = bars.close.copy()
        tomorrow[:-1] = bars.close[1:]
        return super().features(bars) | {"tomorrow": tomorrow}

    def decide(self, now, position):
        return 1.0 if now.tomorrow > now.close else 0.0


report = mqd.check(Leaky(), bars)
print("ok:", report.ok)
print(textwrap.fill(next(iter(report.findings)).sentence, 100))

# %% [markdown]
# With and without a stop, which every strategy has as a parameter.

# %%
plain = mqd.backtest(Pullback(), bars)
stopped = mqd.backtest(Pullback(stop_loss_frac=0.05), bars)
for name, run in (("plain", plain), ("5 % stop", stopped)):
    m = run.metrics
    print(f"{name:>9}: return {m['total_return_frac']:7.1%}, drawdown "
          f"{m['max_drawdown_frac']:7.1%}, {m['n_trades']:.0f} trades")

# %% [markdown]
# The stop makes a smaller drawdown, 18.2 % instead of 25.9 %, and a loss of 12.4 % out of a return
# of 28.9 %: it sells weakness, which is what this strategy buys.

# %%
figure = go.Figure()
for name, run in (("plain", plain), ("5 % stop", stopped)):
    equity = run.equity["equity"].iloc[::5]
    figure.add_scatter(x=equity.index, y=equity, name=name, mode="lines")
figure.update_yaxes(title_text="equity, USD", tickformat=",.0f")
style(figure, 420, "Equity with and without a stop", legend=True)
