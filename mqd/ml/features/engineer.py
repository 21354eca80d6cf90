"""``FeatureEngineer``: named features, written once, for strategies and models alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mqd.core.bar import BarRow, Floats, SymbolBars
from mqd.core.clock import iso
from mqd.errors import UsageError, did_you_mean
from mqd.ml.errors import BadFeature, BadFeatureMatrix
from mqd.ml.features.batch import Batch, columns_of
from mqd.ml.features.catalogue import DEFAULT, Feature, feature_of
from mqd.ml.features.nodes import FIELDS, fields_of
from mqd.ml.features.online import Online
from mqd.ml.features.schema import FeatureSchema

if TYPE_CHECKING:
    import pandas as pd

Own = Mapping[str, Callable[[SymbolBars], Any]]


class FeatureEngineer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of bars, by name.

    ``features`` are texts of ``mqd.ml.features.catalogue``: ``"rsi(14)"``, ``"gap_frac"``.
    A scikit-learn transformer: it clones, works in a ``Pipeline`` and has ``set_output``.

    * Offline: ``transform(bars)`` gives a frame, ``matrix(bars)`` an array, one row a bar.
    * In a strategy: ``features(self, bars)`` returns ``engineer.columns(bars)``.
    * Online: ``engineer.online()`` is fed bar by bar; its rows have the bits of the matrix.

    In a ``Pipeline`` it sees the rows that it is given and no others. A cross-validation that cuts
    a stretch out joins what lies around it, and windows at that seam are wrong. So give it
    ``history``, the bars that the rows are of: features are then those of the whole history, looked
    up by the rows' index. They look back only, so that nothing of a tested stretch leaks by it.
    Or make the rows first (``mqd.ml.make_dataset``) and split those.

    Values are NaN while a window fills. ``schema`` names the columns and hashes what they mean.
    """

    def __init__(self, features: Sequence[str] = DEFAULT, history: Any = None) -> None:
        self.features = features
        self.history = history

    @property
    def chosen(self) -> tuple[Feature, ...]:
        """The features, in order. Raises ``BadFeature`` for a text that writes none."""
        if isinstance(self.features, str) or not len(self.features):
            raise BadFeature("features is a list of texts, such as ['rsi(14)', 'gap_frac'].")
        found = tuple(feature_of(text) for text in self.features)
        names = [one.name for one in found]
        for name in names:
            if names.count(name) > 1:
                raise BadFeature(f"The feature {name} stands twice: keep one.")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(one.name for one in self.chosen)

    @property
    def schema(self) -> FeatureSchema:
        """What a matrix of these features must look like."""
        chosen = self.chosen
        return FeatureSchema(
            tuple(one.name for one in chosen), tuple(repr(one.node) for one in chosen)
        )

    def spec(self) -> dict[str, Any]:
        """Return what makes an equal engineer again, JSON-ready."""
        return {"features": [one.text for one in self.chosen]}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return the engineer that ``spec`` describes; raise ``BadFeature`` for no such."""
        if set(spec) != {"features"}:
            raise BadFeature(f"{sorted(spec)} is no specification of features.")
        return cls(tuple(spec["features"]))

    def matrix(self, bars: SymbolBars) -> Floats:
        """Return the features of one symbol's bars, C-contiguous float64 (bars, features)."""
        return self.of_columns(columns_of(bars))

    def columns(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the features by name, as ``Strategy.features`` does."""
        matrix = self.matrix(bars)
        return {name: matrix[:, place].copy() for place, name in enumerate(self.names)}

    def online(self) -> OnlineFeatures:
        """Return the features of one symbol, to be fed its bars from the anchor on."""
        return OnlineFeatures(self.chosen)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803
        """Compute the features once and refuse one that never changes or has no value.

        Nothing is learnt from data.
        """
        frame = self.transform(X)
        values = frame.to_numpy()
        for place, name in enumerate(frame.columns):
            known = values[:, place][np.isfinite(values[:, place])]
            if len(known) < 2:
                raise BadFeatureMatrix(
                    f"{name} has {'one' if len(known) else 'no'} value in {len(frame)} rows: its"
                    " window hardly fills, or what it reads is missing. Give more bars, or leave"
                    " it out."
                )
            if (known == known[0]).all():
                raise BadFeatureMatrix(
                    f"{name} is {known[0]} in every row that has a value ({len(known)} of"
                    f" {len(frame)}): it says nothing."
                )
        self.n_features_out_ = len(frame.columns)
        return self

    def transform(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """Return the features as a float64 frame.

        ``X``: one symbol's bars (index: close, UTC), bars of several symbols (index: close and
        symbol, in order of time), or a frame of one symbol with the columns open, high, low,
        close and volume, whose index is kept. Features of the session and the weekday need
        session, minutes_from_open and minutes_to_close there too; without them they are refused
        with ``BadFeatureMatrix``.

        With a ``history``: a frame whose index is that of some of its rows, close and, of several
        symbols, symbol; what else it holds is not read.
        """
        import pandas as pd

        if self.history is not None:
            return _looked_up(FeatureEngineer(self.features).transform(self.history), X)
        if isinstance(X, SymbolBars):
            return pd.DataFrame(self.matrix(X), _closes(X), list(self.names))
        if hasattr(X, "symbols"):
            parts = {symbol: self.transform(X[symbol]) for symbol in X.symbols}
            stacked = pd.concat(parts, names=["symbol", "ts_close"]).swaplevel()
            in_time: pd.DataFrame = stacked.sort_index(
                level="ts_close", kind="stable", sort_remaining=False
            )
            return in_time
        if not isinstance(X, pd.DataFrame):
            raise BadFeatureMatrix(f"Features are made of bars or a frame of them, not {type(X)}.")
        columns = _frame_columns(X, self.chosen)
        return pd.DataFrame(self.of_columns(columns), X.index, list(self.names))

    def get_feature_names_out(self, input_features: Any = None) -> Any:  # noqa: ARG002
        """Return the columns' names as scikit-learn wants them."""
        return np.asarray(self.names, dtype=object)

    def __sklearn_clone__(self) -> Self:
        """Return an equal one; a history is shared, not copied."""
        return type(self)(self.features, self.history)

    def __sklearn_is_fitted__(self) -> bool:
        """Nothing is learnt from data."""
        return True

    def of_columns(self, columns: Mapping[str, Floats]) -> Floats:
        """Return the features of one symbol's columns, named as ``nodes.FIELDS``."""
        batch, chosen = Batch(columns), self.chosen
        matrix = np.empty((len(columns["close"]), len(chosen)))
        for place, one in enumerate(chosen):
            matrix[:, place] = batch(one.node)
        return matrix


class OnlineFeatures:
    """The features of one symbol, bar by bar, with the bits of the matrix since its first bar."""

    def __init__(self, chosen: Sequence[Feature]) -> None:
        self._online = Online([one.node for one in chosen])
        self._last: BarRow | None = None

    def update(self, row: BarRow) -> Floats:
        """Take a closed bar; return the features at it, NaN while warming up.

        Raises ``UsageError`` for a bar of another symbol, or one that is not later than the last.
        """
        last, self._last = self._last, row
        if last is not None and (row.symbol != last.symbol or row.ts_close <= last.ts_close):
            self._last = last
            raise UsageError(
                f"A bar of {row.symbol} that closes at {iso(row.ts_close)} cannot follow one of"
                f" {last.symbol} at {iso(last.ts_close)}: give each symbol features of its own,"
                " and bars in order of time."
            )
        return np.array(self._online.update(row))


def _looked_up(known: pd.DataFrame, X: Any) -> pd.DataFrame:  # noqa: N803
    """Return the rows of ``known`` that the index of ``X`` names."""
    import pandas as pd

    if not isinstance(X, pd.DataFrame):
        raise BadFeatureMatrix(f"With a history, rows are a frame with its index, not {type(X)}.")
    wanted, held = X.index, known.index
    if wanted.nlevels == 1 and held.nlevels == 2 and len(set(held.get_level_values("symbol"))) == 1:
        held = held.get_level_values("ts_close")
    if wanted.nlevels != held.nlevels or (held.nlevels == 2 and set(wanted.names) != {*held.names}):
        raise BadFeatureMatrix(
            f"The rows' index is {list(wanted.names)}, and that of the history {list(held.names)}."
        )
    if isinstance(wanted, pd.MultiIndex):
        wanted = wanted.reorder_levels(held.names)
    places = held.get_indexer(wanted)
    if (places < 0).any():
        first = wanted[int((places < 0).argmax())]
        raise BadFeatureMatrix(
            f"{int((places < 0).sum())} rows are not in the history, the first is {first}."
        )
    return pd.DataFrame(known.to_numpy()[places], X.index, known.columns)


def _closes(bars: SymbolBars) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(bars.ts_close, tz="UTC", name="ts_close")


def _refuse_several(frame: pd.DataFrame) -> None:
    """Refuse a frame of several symbols: windows would run from one into the next."""
    inside = "symbol" in frame.index.names
    symbols: Any = frame.index.get_level_values("symbol") if inside else frame.get("symbol", ())
    n_symbols = len(set(symbols))
    if n_symbols > 1:
        raise BadFeatureMatrix(
            f"The frame holds {n_symbols} symbols and is taken as one: give the bars"
            " themselves, or a frame of each symbol."
        )


def _frame_columns(frame: pd.DataFrame, chosen: Sequence[Feature]) -> dict[str, Floats]:
    """Return the columns of a frame; those of the session are asked for only where one is read."""
    _refuse_several(frame)
    columns = {}
    for name in FIELDS[:5]:
        if name not in frame:
            raise BadFeatureMatrix(
                f"The frame has no column {name!r}.{did_you_mean(name, map(str, frame.columns))}"
            )
        columns[name] = frame[name].to_numpy(dtype=np.float64)
    for name in FIELDS[5:]:
        if name in frame:
            columns[name] = frame[name].to_numpy(dtype=np.float64)
            continue
        reader = next((one.name for one in chosen if name in fields_of(one.node)), None)
        if reader is not None:
            raise BadFeatureMatrix(
                f"{reader} reads {name!r}, which the frame has not: add it, or give bars."
            )
        columns[name] = np.full(len(frame), np.nan)
    return columns
