# %% [markdown]
# # 05 Features, labels, leakage
#
# Features are written once, as names. The same definition serves strategies and models, offline and
# bar by bar. A label is what came after, with the span of time that it knows; that span is what a
# split has to respect.

# %%
import numpy as np
import plotly.graph_objects as go
import plotly.io
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mqd
from mqd.core.bar import bar_row
from mqd.ml import FeatureEngineer, FixedHorizon, TripleBarrier
from mqd.ml.features.catalogue import KINDS
from mqd.ml import evaluate, make_dataset
from mqd.report.plots import style
from mqd.splits import PurgedKFold

plotly.io.renderers.default = "plotly_mimetype"
bars = mqd.load_bars("../datasets/us_equity_daily_raw.parquet", symbols=["AAPL", "IBM", "MSFT"])

# %%
engineer = FeatureEngineer(["rsi(14)", "sma_gap(50)", "realised_vol(20)", "volume_ratio(20)"])
engineer.transform(bars["IBM"]).tail(3).round(4)

# %% [markdown]
# A few of the features there are:

# %%
for kind in list(KINDS.values())[:6]:
    print(f"{kind.name:>16} ({kind.family}): {kind.about}")

# %% [markdown]
# **Offline and online have the same bits.** Online features are fed bar by bar, as a desk does.

# %%
ibm = bars["IBM"]
offline, online = engineer.matrix(ibm), engineer.online()
fed = np.array([online.update(bar_row(ibm, row)) for row in range(len(ibm))])
print("equal to the bit:", offline.tobytes() == fed.tobytes(), offline.shape)

# %% [markdown]
# **Labels.** Up within five days, or which of two barriers is touched first. Each has an interval
# from the close it belongs to (`t0`) to the close at which it is known (`t1`).

# %%
for label in (FixedHorizon(5), TripleBarrier(10, up=2.0, down=1.0)):
    table = label.of(ibm)
    counts = dict(zip(*np.unique(table.label, return_counts=True), strict=True))
    print(label, {int(k): int(v) for k, v in counts.items()})

# %% [markdown]
# **Leakage.** Labels of 20 days overlap. A shuffled split trains on rows whose labels share nearly
# all their days with tested ones; a model that only remembers neighbours then looks as if it knew
# something. mqd refuses such a split:

# %%
data = make_dataset(bars, engineer, FixedHorizon(20))


class Shuffled:
    """Five random folds: what `KFold(shuffle=True)` does."""

    def split(self, X):
        fold = np.random.default_rng(0).integers(0, 5, len(X))
        for number in range(5):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=5))
try:
    evaluate(neighbours, data, Shuffled())
except mqd.errors.UsageError as error:
    print(error)

# %% [markdown]
# To see what it saves you from, the same score by hand, without the check, beside purged folds.

# %%
flat = np.empty(len(data))
for train, test in Shuffled().split(data.X):
    model = neighbours.fit(data.X[train], data.y[train])
    flat[test] = model.predict_proba(data.X[test])[:, 1]
leaky = float(((flat > 0.5) == data.y).mean())
purged = PurgedKFold(5, data.t0, data.t1, embargo="30D")
honest = evaluate(neighbours, data, purged).metrics()["hit_rate_frac"]
base = max(data.y.mean(), 1 - data.y.mean())
print(f"always the more frequent answer {base:.1%}, shuffled {leaky:.1%}, purged {honest:.1%}")

# %% [markdown]
# The leak alone lifts 51.2 % to 59.3 %. Without it the model is worse than always giving the
# more frequent answer, which is right 56.1 % of the time.

# %%
figure = go.Figure(go.Bar(
    x=["always the more frequent answer", "model, shuffled folds", "model, purged folds"],
    y=[base, leaky, honest], marker_color=["#8a95a3", "#c4662d", "#2458a6"],
    text=[f"{v:.1%}" for v in (base, leaky, honest)], textposition="outside",
))
figure.update_yaxes(title_text="share of rows it is right on", tickformat=".0%", range=[0, 0.75])
style(figure, 420, "How often the same model is right, by how its rows are split")
