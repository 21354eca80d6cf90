"""Splitters for time series that speak scikit-learn's protocol and purge by label interval.

A label made from what happens between ``label_start`` and ``label_end`` knows the prices of that
whole span. A training row whose span meets the span of a tested row has seen the answer, however
many rows lie between them; so rows are dropped by their intervals, never by a count of rows.
Intervals are closed: two that share one instant share the price of that instant.

- ``WalkForward``: train on the past, test on what follows; rolling or anchored.
- ``PurgedKFold``: every row is tested once; training on both sides of the test block.
- ``CombinatorialPurged``: every choice of ``n_test_groups`` of ``n_groups`` blocks is tested; the
  pieces recombine into whole backtest paths.

All are passed as ``cv=`` to ``cross_val_score``, ``GridSearchCV`` and the like; scikit-learn is
not needed to use them. Times are int64 ns UTC, numpy or Python datetimes, texts or pandas indexes
and series; start and end must both have a zone or both have none. Answers are ascending int64 row
numbers. Wrong arguments raise ``UsageError``.

Source: M. Lopez de Prado, "Advances in Financial Machine Learning" (2018), chapter 7 (purge and
embargo: snippets 7.1 and 7.2) and chapter 12 (combinatorial purged cross-validation, its paths).
There the embargo is a number of bars; here it is a span of time, so that holes in the data and
several rows an instant do not thin it out.
"""

from mqd.splits.labels import Labels, fixed_horizon
from mqd.splits.purged import CombinatorialPurged, PurgedKFold
from mqd.splits.walk_forward import WalkForward

__all__ = ["CombinatorialPurged", "Labels", "PurgedKFold", "WalkForward", "fixed_horizon"]
