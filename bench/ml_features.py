"""Features beside their goals: 1,000,000 bars x 20 offline, 100 symbols x 20 online."""

from __future__ import annotations

import numpy as np

from mqd.core.bar import BarRow
from mqd.core.clock import WallClock
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.nodes import FIELDS

TWENTY = (
    "rsi(14)", "rsi(5)", "sma_gap(20)", "sma_gap(50)", "ema_gap(20)", "ema_gap(50)",
    "atr_frac(14)", "adx(14)", "channel_place(20)", "log_return(1)", "log_return(5)",
    "log_return(20)", "gap_frac", "range_frac", "realised_vol(20)", "realised_vol(60)",
    "volume_ratio(20)", "vwap_gap", "session_frac", "weekday_sin",
)  # fmt: skip
N_BARS, N_SYMBOLS, N_STEPS = 1_000_000, 100, 600
OFFLINE_S_MAX, ONLINE_MS_MAX = 2.0, 20.0


def columns(n: int) -> dict[str, np.ndarray]:
    """Return made-up minutes: sessions of 390 bars."""
    dice = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(dice.normal(0.0, 1e-4, n)))
    at = np.arange(n)
    made = {
        "open": close * 0.9999, "high": close * 1.001, "low": close * 0.999, "close": close,
        "volume": dice.uniform(1e3, 1e5, n), "minutes_from_open": at % 390 + 1.0,
        "minutes_to_close": 389.0 - at % 390, "session": (at // 390).astype(np.float64),
    }  # fmt: skip
    return {name: made[name] for name in FIELDS}


def offline() -> float:
    """Return the seconds of 20 features over all bars, the best of three."""
    clock, engineer, made = WallClock(), FeatureEngineer(TWENTY), columns(N_BARS)
    spent = []
    for _ in range(3):
        begun = clock.monotonic_ns()
        matrix = engineer.of_columns(made)
        spent.append((clock.monotonic_ns() - begun) / 1e9)
        assert matrix.shape == (N_BARS, 20)
    return min(spent)


def online() -> tuple[float, float]:
    """Return p50 and p99 of the ms in which all symbols take a bar."""
    clock, engineer, made = WallClock(), FeatureEngineer(TWENTY), columns(N_STEPS)
    symbols = [engineer.online() for _ in range(N_SYMBOLS)]
    spent = []
    for at in range(N_STEPS):
        row = BarRow(
            "X", at * 60, at * 60 + 60, *(float(made[name][at]) for name in FIELDS[:5]),
            int(made["session"][at]), float(made["minutes_from_open"][at]),
            float(made["minutes_to_close"][at]),
        )  # fmt: skip
        begun = clock.monotonic_ns()
        for one in symbols:
            one.update(row)
        spent.append((clock.monotonic_ns() - begun) / 1e6)
    return float(np.quantile(spent[100:], 0.5)), float(np.quantile(spent[100:], 0.99))


def main() -> None:
    """Measure both and print them beside the goals."""
    seconds = offline()
    print(f"features offline, {N_BARS:,} bars x 20: {seconds:.2f} s (goal {OFFLINE_S_MAX:.0f})")
    p50, p99 = online()
    print(
        f"features online, {N_SYMBOLS} symbols x 20: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
        f" (goal {ONLINE_MS_MAX:.0f})"
    )


if __name__ == "__main__":
    main()
