"""The types that a model file may hold, by their exact names. Everything else is refused.

A skops file is a tree of nodes; each names a type and the loader that builds it. Loaders that
call what the file names (functions, methods, operators, partials) are not on the list at all. The
trees of scikit-learn are: their node indices are not checked by the library, which is one reason
why a file is only read in a process that can do nothing (`mqd.ml.sandbox.limits`).
"""

from __future__ import annotations

from typing import Final

PLAIN: Final = frozenset(
    {
        "builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list",
        "builtins.slice", "builtins.str", "builtins.tuple", "collections.OrderedDict",
        "numpy.bool", "numpy.bool_", "numpy.dtype", "numpy.float32", "numpy.float64",
        "numpy.int32", "numpy.int64", "numpy.intp", "numpy.ndarray", "numpy.uint32",
        "numpy.uint64", "numpy.uint8",
    }
)  # fmt: skip
"""Values without behaviour."""

_LOSSES: Final = (
    ("AbsoluteError", "IdentityLink"), ("HalfBinomialLoss", "LogitLink"),
    ("HalfGammaLoss", "LogLink"), ("HalfMultinomialLoss", "MultinomialLogit"),
    ("HalfPoissonLoss", "LogLink"), ("HalfSquaredError", "IdentityLink"),
    ("PinballLoss", "IdentityLink"),
)  # fmt: skip

MODELS: Final = frozenset(
    {
        "mqd.ml.inference.rules.SimpleRuleModel",
        "numpy.random._generator.Generator",
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.decomposition._pca.PCA",
        "sklearn.dummy.DummyClassifier",
        "sklearn.dummy.DummyRegressor",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.frozen._frozen.FrozenEstimator",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.isotonic.IsotonicRegression",
        "sklearn.linear_model._base.LinearRegression",
        "sklearn.linear_model._coordinate_descent.ElasticNet",
        "sklearn.linear_model._coordinate_descent.Lasso",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._logistic.LogisticRegressionCV",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.linear_model._ridge.RidgeCV",
        "sklearn.linear_model._ridge.RidgeClassifier",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.MaxAbsScaler",
        "sklearn.preprocessing._data.MinMaxScaler",
        "sklearn.preprocessing._data.PowerTransformer",
        "sklearn.preprocessing._data.QuantileTransformer",
        "sklearn.preprocessing._data.RobustScaler",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._label.LabelBinarizer",
        "sklearn.preprocessing._label.LabelEncoder",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.tree._tree.Tree",
        "sklearn._loss.link.Interval",
        *(f"sklearn._loss.link.{link}" for _, link in _LOSSES),
        *(f"sklearn._loss.loss.{loss}" for loss, _ in _LOSSES),
        *(f"sklearn._loss._loss.Cy{loss}" for loss, _ in _LOSSES),
    }
)
"""Estimators, and what they are made of."""

TRUSTED: Final = PLAIN | MODELS

LOADERS: Final = frozenset(
    {
        "DTypeNode", "DictNode", "JsonNode", "ListNode", "LossNode", "NdArrayNode", "ObjectNode",
        "RandomGeneratorNode", "SliceNode", "TreeNode", "TupleNode", "TypeNode",
    }
)  # fmt: skip
"""Loaders of skops that build values; none calls a function that the file names."""
