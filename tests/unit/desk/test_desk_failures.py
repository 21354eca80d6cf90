"""What a run does when something is wrong: a sentence, and nothing lost."""

from __future__ import annotations

import errno
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import mqd
from mqd import errors, log_files
from mqd.log_reader import read as read_log
from mqd.positions.store import PositionStore
from tests.parity.twin_cases import bars_of
from tests.unit.desk.desk_cases import Crosses, built, two_waves, wave


class Broken(mqd.Strategy):
    """Does one wrong thing, by ``how``."""

    how: int = mqd.param(0, low=0, high=9)

    def decide(self, now: Any, position: Any) -> Any:
        """Return, or raise, nonsense."""
        if self.how == 0:
            raise RuntimeError("mine")
        if self.how == 1:
            return float("nan")
        if self.how == 2:
            return "all of it"
        return 7.0


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (0, errors.StrategyRaised, ("RuntimeError", "mine")),
        (1, errors.BadWeight, ("nan", "NaN")),
        (2, errors.BadWeight, ("all of it",)),
        (3, errors.BadWeight, ("7.0", "[-1, 1]")),
    ],
)
def test_a_bad_decide_ends_the_run_by_name(how: int, error: Any, words: tuple[str, ...]) -> None:
    """The message names strategy, symbol and bar."""
    bars = bars_of({"AAA": wave(12)}, [])
    with pytest.raises(error) as caught:
        mqd.backtest(Broken(how=how), bars)
    for word in ("Broken", "AAA", "2026-03-16", *words):
        assert word in str(caught.value)


class Writes(mqd.Strategy):
    """Writes to what it may only read."""

    def features(self, bars: Any) -> Any:
        """Change history."""
        bars.close[0] = 1.0
        return {}

    def decide(self, now: Any, position: Any) -> float:
        """Return the whole slot."""
        return 1.0


class Short(Crosses):
    """Features of a wrong length."""

    def features(self, bars: Any) -> Any:
        """Return one value too few."""
        return {"mean": bars.close[1:]}


class Looks(Crosses):
    """Features that look ahead by one."""

    def features(self, bars: Any) -> Any:
        """Return the next close."""
        return {"mean": np.append(bars.close[1:], bars.close[-1])}


@pytest.mark.parametrize(
    ("strategy", "words"),
    [(Writes(), "read-only"), (Short(), "199"), (Looks(), "looks ahead")],
    ids=["writes", "length", "lookahead"],
)
def test_bad_features_are_refused(strategy: mqd.Strategy, words: str) -> None:
    """Nothing is traded on features that cannot be right."""
    bars = bars_of({"AAA": wave(200)}, [], "30min")
    before = bars["AAA"].close.copy()
    with pytest.raises(errors.StrategyError) as caught:
        mqd.backtest(strategy, bars)
    assert type(strategy).__name__ in str(caught.value)
    assert words in str(caught.value)
    assert (bars["AAA"].close == before).all()


def test_one_bar_trades_nothing() -> None:
    """One bar decides, and no next open is there to fill at."""
    result = mqd.backtest(Crosses(), bars_of({"AAA": wave(1)}, []))
    assert len(result.fills) == 0
    assert result.metrics["final_equity"] == 100_000.0
    assert len(result.equity) == 1


def test_no_bar_is_refused() -> None:
    """Empty bars never get as far as a run."""
    bars = two_waves()
    with pytest.raises(errors.EmptyBars):
        mqd.backtest(Crosses(), bars.between("2019-01-01", "2019-02-01"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"cash": 0}, "cash = 0"), ({"cash": float("nan")}, "cash"), ({"cash": "much"}, "much"),
        ({"multiplier": 5}, "multiplier = 5"), ({"engine": "fast"}, "fast"),
        ({"rebalance_band_frac": -0.1}, "rebalance_band_frac"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense(words: dict[str, Any], text: str) -> None:
    """A wrong argument is named."""
    with pytest.raises(errors.ConfigError, match=text):
        mqd.backtest(Crosses(), two_waves(), **words)


def test_a_class_instead_of_an_instance() -> None:
    """The sentence says what to write."""
    with pytest.raises(errors.UsageError, match="An instance is wanted"):
        mqd.backtest([(Crosses, 1.0)], two_waves())  # type: ignore[list-item]


def test_a_run_folder_that_exists_is_left_alone(tmp_path: Any) -> None:
    """Nothing in it changes."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(errors.RunFolderExists):
        mqd.backtest(Crosses(), two_waves(), out=tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_control_c_leaves_a_readable_folder(tmp_path: Any, monkeypatch: Any) -> None:
    """The log is whole up to the step, and the store is its projection."""
    whole = mqd.backtest(Crosses(), two_waves())
    from mqd.desk.loop import Desk

    plain, seen = Desk.step, []

    def interrupted(desk: Any, step: int) -> None:
        plain(desk, step)
        seen.append(step)
        if len(seen) == 25:
            raise KeyboardInterrupt

    monkeypatch.setattr(Desk, "step", interrupted)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        mqd.backtest(Crosses(), two_waves(), out=folder)
    kinds = [record.kind for record in read_log(folder)]
    assert 0 < kinds.count("fill") < len(whole.fills)
    assert "run.end" not in kinds
    rebuilt = PositionStore.rebuild(folder, into=tmp_path)
    rebuilt.check_balance()
    rebuilt.close()


def test_a_full_disk_stops_the_run_before_it_acts(tmp_path: Any, monkeypatch: Any) -> None:
    """A record that cannot be written is followed by no send."""
    sent: list[str] = []
    from mqd.execution.simulated_broker import SimulatedBroker

    plain_submit, plain_write = SimulatedBroker.submit, log_files.SystemCalls.write
    count = {"bytes": 0}

    def submit(broker: Any, order: Any, legs: Any = ()) -> None:
        sent.append(order.client_order_id)
        plain_submit(broker, order, legs)

    def write(handle: int, data: bytes) -> int:
        count["bytes"] += len(data)
        if count["bytes"] > 30_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain_write(handle, data)

    monkeypatch.setattr(SimulatedBroker, "submit", submit)
    monkeypatch.setattr(log_files.SystemCalls, "write", staticmethod(write))
    folder = tmp_path / "run"
    with pytest.raises(errors.LogWriteFailed, match="No space left"):
        mqd.backtest(Crosses(), two_waves(), out=folder)
    monkeypatch.undo()
    logged = {r.payload["id"] for r in read_log(folder) if r.kind == "intent"}
    assert sent
    assert set(sent) <= logged


def test_a_split_on_the_day_keeps_the_money() -> None:
    """Unadjusted prices halve, the position doubles: equity does not jump."""
    rows = [(i, 100.0, 100.5, 99.5, 100.0, 1e6) for i in range(8)]
    rows += [(i, 50.0, 50.25, 49.75, 50.0, 2e6) for i in range(8, 14)]
    bars = bars_of({"AAA": rows}, [("AAA", 8, "split", 2.0, None)], adjust="none")
    result = mqd.backtest(
        mqd_buy(), bars, costs=mqd.Costs(), fills=mqd.FillModel(participation_frac=1.0)
    )
    assert result.positions["AAA"].iloc[7] * 2 == result.positions["AAA"].iloc[8] == 2000
    assert (result.equity.equity == 100_000.0).all()
    assert len(result.fills) == 1


def mqd_buy() -> mqd.Strategy:
    """Return buy and hold."""
    from mqd.strategy.library.buy_and_hold import BuyAndHold

    return BuyAndHold()


def test_scales_that_64_bits_cannot_hold() -> None:
    """The sentence says what to coarsen."""
    bars = bars_of({"AAA": wave(5)}, [], lot="0.000000001", tick="0.0001")
    with pytest.raises(errors.ScaleTooFine, match="Coarsen"):
        mqd.backtest(Crosses(), bars, cash=Decimal("1e9"))


def test_a_stopped_desk_says_where_the_hook_raised() -> None:
    """A hook's exception is wrapped with its place."""

    class Hooked(mqd.Strategy):
        def on_bar(self, desk: Any, bar: Any) -> None:
            raise KeyError("mine")

    desk, _ = built(Hooked(), bars_of({"AAA": wave(5)}, []))
    with pytest.raises(errors.StrategyRaised, match=r"Hooked\.on_bar raised KeyError"):
        desk.run()
