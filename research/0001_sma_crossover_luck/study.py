"""Sma crossover luck: run me from anywhere, ``python study.py``."""

from pathlib import Path

import mqd
from mqd.market_data.datasets import default_folder
from mqd.strategy.library.sma_cross import SmaCross
from mqd.study import write_result

HERE = Path(__file__).resolve().parent
QUESTION = "Is the best SMA crossover on IBM more than the best of luck?"
METHOD = (
    "All 441 pairs of fast (5 to 45) and slow (50 to 250), 2000 to 2013, Alpaca's costs. Answer:"
    " yes if the deflated Sharpe ratio reaches 0.95 and PBO stays below 0.5."
)
VERDICT = (
    "No. With 441 pairs tried the best Sharpe ratio of 0.42 is more than luck with a probability of"
    " 0.72, short of the 0.95 that was asked for, and the pair chosen in one half of the time is"
    " below the median in the other more often than not (PBO 0.65)."
)


def main() -> None:
    """Run the study and write its result."""
    bars = mqd.load_bars(default_folder() / "us_equity_daily_raw.parquet", symbols=["IBM"])
    grid = {"fast": range(5, 46, 2), "slow": range(50, 251, 10)}
    sweep = mqd.sweep(SmaCross, bars, grid, study=HERE)
    numbers = {
        "combinations": len(sweep.table),
        "best_sharpe": round(float(sweep.best("sharpe")["sharpe"]), 6),
        "deflated_sharpe": round(float(sweep.deflated_sharpe()), 6),
        "pbo": round(float(sweep.pbo().pbo), 6),
    }
    print(
        write_result(
            HERE,
            question=QUESTION,
            method=METHOD,
            bars=bars,
            parameters={"grid": str(grid)},
            numbers=numbers,
            verdict=VERDICT,
        )
    )


if __name__ == "__main__":
    main()
