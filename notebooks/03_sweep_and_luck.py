# %% [markdown]
# # 03 Sweep and luck
#
# Try 441 pairs of parameters, then ask how good the best of them would look if none had any skill.

# %%
import plotly.io

import mqd
from mqd.strategy.library.sma_cross import SmaCross

plotly.io.renderers.default = "plotly_mimetype"
bars = mqd.load_bars("../datasets/us_equity_daily_raw.parquet", symbols=["IBM"])

# %%
grid = {"fast": range(5, 46, 2), "slow": range(50, 251, 10)}
sweep = mqd.sweep(SmaCross, bars, grid)
print(len(sweep.table), "combinations")
sweep.table[["fast", "slow", "sharpe", "total_return_frac", "n_trades"]].sort_values(
    "sharpe", ascending=False
).head()

# %% [markdown]
# The best Sharpe ratio is the largest of many. The deflated Sharpe ratio is the probability that
# it is more than the best of that many tries without skill; PBO is the chance that the best in one
# half of the time is below the median in the other.

# %%
best = sweep.best("sharpe")
print(f"best pair: fast {best['fast']:.0f}, slow {best['slow']:.0f}, Sharpe {best['sharpe']:.2f}")
print(f"probability that it is more than luck: {sweep.deflated_sharpe():.2f}")
print(f"probability of overfitting (PBO):      {sweep.pbo().pbo:.2f}")

# %% [markdown]
# Both warn here. At 0.72 luck remains possible, and a PBO of 0.65 is above one half: pairs that
# were best in one half of the time were more often than not below the median in the other.
#
# The best and twenty others, drawn by chance, are run again in the event engine: the same to the
# last digit.

# %%
sweep.verify(20)

# %% [markdown]
# Walking forward: choose on five years, trade the next one, move on. Efficiency is the mean Sharpe
# ratio of the years traded over that of the years of choice. The first five years are never traded
# here, so this Sharpe ratio and the sweep's are of different years.

# %%
walk = mqd.walk_forward(SmaCross, bars, {"fast": range(5, 46, 10), "slow": range(50, 251, 50)},
                        train=1260, test=252)
print(f"Sharpe out of sample {walk.metrics['sharpe']:.2f}, efficiency {walk.efficiency:.2f}")

# %% [markdown]
# A plateau is worth more than a peak: good pairs should have good neighbours. The circle is the
# best.

# %%
sweep.heatmap("fast", "slow", "sharpe")
