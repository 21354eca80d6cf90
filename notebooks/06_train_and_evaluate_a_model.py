# %% [markdown]
# # 06 Train and evaluate a model
#
# Fit on the past, predict what follows, say how well and how surely; let the desk trade the
# predictions with its costs; register what is worth watching. The last years stay sealed.

# %%
import logging
import tempfile

import pandas as pd
import plotly.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mqd
from mqd.ml import (
    FeatureEngineer,
    FixedHorizon,
    ModelRegistry,
    SealedHoldout,
    economic_value,
    evaluate,
    make_dataset,
)
from mqd.report.model_plots import calibration_figure
from mqd.splits import WalkForward
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.predictors import predicting

plotly.io.renderers.default = "plotly_mimetype"
logging.disable(logging.INFO)
study = tempfile.mkdtemp(prefix="mqd-notebook-")
file, symbols = "../datasets/us_equity_daily_raw.parquet", ["AAPL", "IBM", "MSFT"]

# %% [markdown]
# **The seal.** Rows from 2011 on are not handed out. Opening the seal is written down and counted.

# %%
holdout = SealedHoldout(study, "2011-01-01")
try:
    mqd.load_bars(file, symbols, holdout=holdout)
except mqd.errors.MqdError as error:
    print(error)
seen = mqd.load_bars(file, symbols, end="2010-12-31", holdout=holdout)

# %%
engineer = FeatureEngineer()
label = FixedHorizon(5)
data = make_dataset(seen, engineer, label)
data

# %% [markdown]
# **Out of sample.** Train on about three years, test on the next, move on. Training rows whose
# label reaches into the tested span are dropped. Each evaluation counts as a trial.

# %%
models = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.01)),
    "trees": HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=4, learning_rate=0.05,
                                            random_state=0),
}
cv = WalkForward(1095, 365, unit="days", times=data.t0, label_start=data.t0, label_end=data.t1)
found = {name: evaluate(model, data, cv, study=study) for name, model in models.items()}

# %%
shown = ["rows", "base_rate_frac", "brier", "brier_low", "brier_high", "skill", "auc",
         "precision_frac", "precision_low_frac", "precision_high_frac", "trials"]
table = pd.DataFrame({name: one.metrics(0.55) for name, one in found.items()})
table.loc[shown].map("{:.4g}".format)

# %% [markdown]
# A skill below 0 means: worse than always saying how often it goes up. With an AUC of 0.50 and 0.52
# (a coin has 0.5), these features say next to nothing of the next week of three shares. That is the
# usual answer.
#
# **What it would have earned**, through the desk, with its fills and costs, over the years that
# have scores. The deflated Sharpe ratio asks whether it is more than the luckiest of these trials.

# %%
REFERENCE = "scores@" + "0" * 64  # a name for scores that no file gives
traded = seen.between(*found["trees"].span)
costs = mqd.Costs(fee_bps=1, slippage_bps=2)


def run(predictor):
    with predicting(REFERENCE, predictor):
        strategy = ModelSignal(model=REFERENCE, enter_at=0.55, exit_below=0.5)
        return mqd.backtest(strategy, traded, costs=costs)


sharpes = [economic_value(one, run)["sharpe_bar"] for one in found.values()]
for name, one in found.items():
    value = economic_value(one, run, sharpe_trials=sharpes)
    print(f"{name:>9}: Sharpe {value['sharpe']:.2f}, deflated {value['deflated_sharpe']:.0%}, "
          f"return {value['total_return_frac']:.1%}, {value['n_trades']:.0f} trades")
hold = mqd.backtest(BuyAndHold(), traded, costs=costs)
print(f"buy, hold: Sharpe {hold.metrics['sharpe']:.2f}, return "
      f"{hold.metrics['total_return_frac']:.1%}")

# %% [markdown]
# The deflated ratio asks whether a result is above nothing after so many trials. Holding the three
# shares had a Sharpe ratio of 1.12 in the same years, the better model 0.45: these models earned a
# part of the market, not a skill.
#
# **Register.** A version is a file without pickle, with the hash of everything that it came from.
# It begins as a shadow: it may be watched, not traded.

# %%
registry = ModelRegistry(study + "/models")
fitted = models["trees"].fit(data.X, data.y, sample_weight=data.weight)
version = registry.save(
    fitted, name="trees", features=engineer, label=label, training=data.training, threshold=0.55,
    metrics={**found["trees"].metrics(0.55), "reference": data.reference()},
    note="Notebook 06: no skill out of sample, kept to be watched",
)
print(version.name, version.stage, "| rows", version.manifest.training["n_rows"],
      "| types in the file, all on the list:", len(version.manifest.trusted_types))

# %% [markdown]
# On the diagonal a score means what it says. The bars below say how often it says so.

# %%
calibration_figure({name: one.calibration() for name, one in found.items()},
                   "Out of sample: score against how often it was up")
