# %% [markdown]
# # 08 From notebook to paper
#
# A strategy that looks good is rehearsed before it trades: a venue on this machine speaks Alpaca's
# interface, the desk talks to it as it will to Alpaca, and every order and fill is compared with
# the replay. A model rides along.

# %%
import logging
import tempfile
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
from sklearn.linear_model import LogisticRegression

import mqd
from mqd.live.rehearsal import DataSpec, rehearse
from mqd.ml import (
    FeatureEngineer,
    FixedHorizon,
    ModelRegistry,
    ShadowModeTracker,
    make_dataset,
    score_log,
)
from mqd.report.plots import style
from mqd.strategy.library.sma_cross import SmaCross

plotly.io.renderers.default = "plotly_mimetype"
logging.disable(logging.INFO)
folder = Path(tempfile.mkdtemp(prefix="mqd-notebook-"))
MINUTES = Path("../datasets/equity_minute.parquet")
spec = DataSpec(MINUTES, {"symbols": ["MSFT"], "start": "2022-05-19", "end": "2022-05-20"})
bars = spec.load()
strategy = SmaCross(fast=5, slow=30)
bars

# %% [markdown]
# First what a replay says, and the checks.

# %%
replay = mqd.backtest(strategy, bars)
print(mqd.check(strategy, bars, n_cuts=2).ok, "|", int(replay.metrics["n_orders"]), "orders,",
      int(replay.metrics["n_fills"]), "fills")

# %% [markdown]
# **The rehearsal.** Two processes, real HTTP and websockets, the same orders and fills. Then the
# same again with a model listening, trained on the first day: the decisions have the same hash.

# %%
engineer, label = FeatureEngineer(["sma_gap(5)", "log_return(1)"]), FixedHorizon(5)
first_day = DataSpec(MINUTES, {"symbols": ["MSFT"], "start": "2022-05-19", "end": "2022-05-19"})
data = make_dataset(first_day.load(), engineer, label)
registry = ModelRegistry(folder / "models")
registry.save(LogisticRegression().fit(data.X, data.y), name="minute", features=engineer,
              label=label, training=data.training, threshold=0.5, note="notebook 08")
alone = rehearse(strategy, spec, out=folder / "alone")
with ShadowModeTracker(folder / "shadow", registry, ["minute"]) as shadow:
    watched = rehearse(strategy, spec, out=folder / "watched", listener=shadow)
for name, run in (("alone", alone), ("with a shadow", watched)):
    told = run.summary()
    print(f"{name:>14}: {told['orders']} orders, {told['fills']} fills, equal to the replay: "
          f"{told['equal']}, breaks {told['breaks']}, lost {told['lost_fills']}, "
          f"doubled {told['duplicates']}")
print("decisions equal:", alone.decision_sha256 == watched.decision_sha256)

# %%
(score,) = score_log(folder / "shadow").values()
print(f"{score.n_trained_on} predictions on bars that it was trained on: not counted")
print(f"{score.n} others, Brier {score.metrics()['brier']:.3f}")

# %% [markdown]
# **What paper asks for besides**: `mqd promote` writes a record of all gates, a limits file and a
# configuration name account and keys, `mqd paper CONFIG --shadow minute` trades it. The runbook is
# in `live/runbook.md`.
#
# The fills of replay and rehearsal, one over the other:

# %%
figure = go.Figure()
close = bars["MSFT"]
figure.add_scatter(x=list(range(len(close))), y=close.close, mode="lines", name="close",
                   line={"color": "#8a95a3", "width": 1})
rows = {int(ts): row for row, ts in enumerate(close.ts_close)}
for name, run, size in (("replay", replay, 14), ("rehearsal", watched, 7)):
    fills = run.fills
    at = [rows[int(ts.value)] for ts in fills["ts_known"]]
    figure.add_scatter(x=at, y=fills["px"].astype(float), mode="markers", name=f"fills, {name}",
                       marker={"size": size, "symbol": "circle-open" if size > 10 else "circle"})
figure.update_xaxes(title_text="minute of the two sessions")
figure.update_yaxes(title_text="price, USD")
style(figure, 450, "Two sessions of MSFT: the same fills", legend=True)
