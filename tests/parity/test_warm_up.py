"""A warm-up changes nothing: the log of a warmed desk is that of a cold one, to the byte."""

from __future__ import annotations

import hashlib

import pytest

import mqd
from mqd.live.desk_memory import memory_of
from mqd.live.plan import live_bar
from mqd.live.warming import WarmUp, compile_rules
from mqd.strategy.compiled import program
from mqd.strategy.loading import resolve
from mqd.transaction_log import new_run_folder
from tests.parity.stepwise import build_stepwise
from tests.parity.test_carry_over import limits
from tests.parity.test_stepwise_desk import DATASETS, Armed, Exits


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-20"
    )


@pytest.fixture(scope="module")
def daily():
    return mqd.load_bars(
        DATASETS / "us_equity_daily_raw.parquet", symbols=["AAPL", "IBM"],
        start="1996-01-01", end="2001-01-01",
    )  # fmt: skip


def driven(strategy, bars, folder, warm, words):
    """Take all steps, warm before each where ``warm`` says so; return desk, log and verdicts."""
    new_run_folder(folder)
    built = build_stepwise(strategy, bars, folder, **words)
    warm_up, verdicts = WarmUp(built.desk, built.growing), []
    judge = built.desk.parts.gate.judge
    built.desk.parts.gate.judge = lambda *order: verdicts.append(judge(*order)) or verdicts[-1]
    built.desk.start()
    if warm:
        warm_up.first()
    while (ts_close := built.broker.next_step()) is not None:
        step = built.growing.announce(ts_close)
        if warm:
            warm_up()
        built.desk.step(step)
    built.desk.stop()
    built.desk.parts.journal.log.close("done")
    assert not warm_up._failed
    text = b"".join(one.read_bytes() for one in sorted((folder / "log").iterdir()))
    return built, hashlib.sha256(text).hexdigest(), len(verdicts)


@pytest.mark.parametrize(
    ("strategy", "which", "limited"),
    [
        (Exits(), "minutes", True), (Armed(), "minutes", True), (Armed(), "minutes", False),
        (resolve("momentum_rotation")(), "daily", False), (Exits(), "daily", False),
    ],
)  # fmt: skip
def test_a_warmed_desk_writes_the_same_log(strategy, which, limited, tmp_path, request):
    bars = request.getfixturevalue(which)
    words = {"limits": limits(tmp_path)} if limited else {}
    cold, cold_log, n_cold = driven(strategy, bars, tmp_path / "cold", False, words)
    warm, warm_log, n_warm = driven(strategy, bars, tmp_path / "warm", True, words)
    assert warm_log == cold_log
    assert memory_of(warm.desk, warm.growing) == memory_of(cold.desk, cold.growing)
    assert n_warm - n_cold > 200 < warm.growing.n_steps
    assert n_cold > 0


class Counts(mqd.Strategy):
    """Counts the bars that it was called at: one more or less shows for ever."""

    state = {"n": 0.0}  # noqa: RUF012 - the form that strategies are written in

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 3)}

    def decide(self, now, position, state):
        state.n += 1.0
        return 1.0 if state.n % 7.0 < 3.0 and now.mean > 0.0 else 0.0


@pytest.mark.parametrize("strategy", [Armed(), Counts(), Exits(), resolve("sma_cross")()])
def test_a_rule_that_got_ready_on_history_says_what_it_would_have_said(strategy, minutes):
    told = []
    for ready in (True, False):
        built = build_stepwise(strategy, minutes)
        market = built.growing
        market.preload(minutes.between(None, "2022-05-19T14:40:00Z"))
        built.desk.resume()
        if ready:
            WarmUp(built.desk, market).first()
        runner, said = built.desk.traders[0].runner, []
        for row in range(market.n_rows["MSFT"], 200):
            step = market.announce(int(minutes["MSFT"].ts_close[row]))
            market.take([live_bar(minutes["MSFT"], row)], ends_session=False)
            market.enter(step)
            said.append(runner.signals(step, [row], lambda: 10**9))
        state = runner._runner._states["MSFT"]
        told.append((said, None if state is None else runner.program.state_values(state)))
    assert told[0] == told[1]
    assert any(told[0][0])


class Fresh(mqd.Strategy):
    """A rule that nothing else compiles."""

    def features(self, bars):
        return {"fresh_mean": mqd.indicators.sma(bars.close, 7)}

    def decide(self, now, position):
        return 0.375 if now.fresh_mean > 17.5 else 0.0


def test_without_a_bar_the_rule_is_compiled_on_made_up_ones(minutes):
    built = build_stepwise(Fresh(), minutes)
    assert not built.growing.n_rows["MSFT"]
    compile_rules([("fresh", Fresh(), 1.0)], built.growing)
    made = program(Fresh(), ["fresh_mean"])
    assert "scalar" in made._code.entries
    assert made._code.entries["scalar"].signatures
    WarmUp(built.desk, built.growing)()
    assert not built.growing.n_steps


class Breaks(mqd.Strategy):
    """Its features cannot be computed."""

    def features(self, bars):
        raise RuntimeError("no")

    def decide(self, now, position):
        return 0.0


def test_what_cannot_be_warmed_stays_cold_and_breaks_nothing(minutes):
    built = build_stepwise(Breaks(), minutes)
    built.growing.preload(minutes.between(None, "2022-05-19T14:40:00Z"))
    warm_up = WarmUp(built.desk, built.growing)
    compile_rules([("breaks", Breaks(), 1.0)], built.growing)
    warm_up.first()
    warm_up()
    assert warm_up._failed
    warm_up()
    assert warm_up._turn == 1
    assert built.growing.n_steps == len(built.growing.ts_close) > 0
