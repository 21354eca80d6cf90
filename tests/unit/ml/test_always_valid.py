"""Evidence that may be read daily: wrong seldom however often it is read, and not blind.

The oracle is the definition, bet by bet; the promise itself is held by seeded simulation.
"""

import math

import numpy as np
import pytest

from mqd.errors import UsageError
from mqd.ml.evaluation import always_valid
from mqd.ml.evaluation.always_valid import RISK_MAX, evidence

RNG = np.random.default_rng(8)


def brier_differences(rng, n, truth):
    """Return differences of Brier losses of two models and their bounds; ``truth`` gives the chance
    of up from both scores."""
    a, b = rng.uniform(0.3, 0.7, n), rng.uniform(0.3, 0.7, n)
    up = rng.random(n) < truth(a, b)
    bounds = np.maximum(np.abs(a**2 - b**2), np.abs((1 - a) ** 2 - (1 - b) ** 2))
    return (a - up) ** 2 - (b - up) ** 2, bounds


def by_definition(values, first, sign):
    """Return the largest wealth of one bettor, bet by bet: mean over variance and squared mean of
    what was seen, with one value of 0 and a variance of the first bound before all."""
    wealth = largest = 1.0
    for t, x in enumerate(values):
        seen = values[:t]
        means = [sum(seen[: i + 1]) / (i + 2) for i in range(t)]
        mean = means[-1] if t else 0.0
        spread = first**2 + sum((one - m) ** 2 for one, m in zip(seen, means, strict=True))
        bet = mean / (spread / (t + 1) + mean**2)
        bet = min(max(sign * bet, 0.0), RISK_MAX)
        wealth *= 1 + sign * bet * x
        largest = max(largest, wealth)
    return largest


def test_the_wealth_is_that_of_the_definition():
    values, bounds = brier_differences(RNG, 80, lambda a, b: b)
    found = evidence(values, bounds)
    assert found.e_above == pytest.approx(by_definition(values.tolist(), bounds[0], 1.0))
    assert found.e_below == pytest.approx(by_definition(values.tolist(), bounds[0], -1.0))
    assert found.p_any == pytest.approx(min(1.0, 2 / max(found.e_above, found.e_below)))


def test_under_the_null_it_is_seldom_wrong_however_often_it_is_read(monkeypatch):
    """Both models equally good, though their losses differ bar by bar: 500 runs of 250 days, read
    every day. Either bet may reach 20 in 5 of 100 runs; 40 is the rule of a comparison."""
    monkeypatch.setattr(always_valid, "GRID", 3)
    runs = [evidence(*brier_differences(RNG, 250, lambda a, b: (a + b) / 2)) for _ in range(500)]
    for side in ("e_above", "e_below"):
        assert np.mean([getattr(one, side) >= 20 for one in runs]) <= 0.05
    assert np.mean([one.p_any <= 0.05 for one in runs]) <= 0.05


def test_a_mean_of_nothing_is_not_taken_for_more_where_models_disagree(monkeypatch):
    """Where both are near each other one is better, where they are apart the other, and over all
    neither: bets that knew how far apart they are would find a winner."""
    monkeypatch.setattr(always_valid, "GRID", 3)
    runs = []
    for _ in range(200):
        far = RNG.random(400) < 0.1
        bounds = np.where(far, 0.9, 0.02)
        chance = np.where(far, 0.5 - 0.5 / 9, 0.5 + 0.5 * 0.4)  # of the sign +
        values = bounds * np.where(RNG.random(400) < chance, 1.0, -1.0)
        mean = 0.1 * 0.9 * (2 * (0.5 - 0.5 / 9) - 1) + 0.9 * 0.02 * 0.4
        runs.append(evidence(values, bounds))
        assert mean < 0  # the other one is better, a little
    assert np.mean([one.e_above >= 20 for one in runs]) <= 0.05


def test_the_interval_holds_the_truth_at_all_times():
    held = []
    for _ in range(40):
        values, bounds = brier_differences(RNG, 150, lambda a, b: b)
        truth = 2 * 0.4**2 / 12  # the mean of (a - b)^2
        found = evidence(values, bounds)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.95


def test_a_planted_better_model_is_found(monkeypatch):
    monkeypatch.setattr(always_valid, "GRID", 3)
    runs = [evidence(*brier_differences(RNG, 600, lambda a, b: b)) for _ in range(60)]
    assert np.mean([one.e_above >= 40 for one in runs]) >= 0.8
    assert max(one.e_below for one in runs) < 40


def test_evidence_does_not_know_what_comes():
    values, bounds = brier_differences(RNG, 60, lambda a, b: b)
    changed = values.copy()
    changed[40:] *= -1.0
    assert evidence(values[:40], bounds[:40]) == evidence(changed[:40], bounds[:40])
    seen = [evidence(values[:n], bounds[:n]).e_above for n in range(61)]
    assert seen == sorted(seen)  # the largest so far
    assert seen[0] == seen[1] == 1.0  # nothing is known, nothing is bet


def test_the_other_side_is_the_mirror():
    values, bounds = brier_differences(RNG, 120, lambda a, b: b)
    found, mirror = evidence(values, bounds), evidence(-values, bounds)
    assert (found.e_above, found.e_below) == (mirror.e_below, mirror.e_above)
    assert (found.low, found.high) == pytest.approx((-mirror.high, -mirror.low))


def test_units_do_not_matter():
    values, bounds = brier_differences(RNG, 120, lambda a, b: b)
    found, scaled = evidence(values, bounds), evidence(100 * values, 100 * bounds, bound=100.0)
    assert scaled.e_above == pytest.approx(found.e_above)
    assert scaled.low == pytest.approx(100 * found.low)


def test_a_value_beyond_its_bound_is_refused():
    with pytest.raises(UsageError, match=r"Value 1 is -0\.4, beyond its bound of 0\.3"):
        evidence(np.array([0.1, -0.4]), np.array([0.3, 0.3]))


def test_nothing_says_nothing():
    found = evidence(np.zeros(0), np.zeros(0))
    assert (found.e_above, found.e_below, found.p_any, found.n) == (1.0, 1.0, 1.0, 0)
    assert math.isnan(found.low)
    equal = evidence(np.zeros(50), np.zeros(50))
    assert (equal.e_above, equal.e_below) == (1.0, 1.0)
