"""Each kind of finding has a strategy that triggers it; sentences hold the numbers."""

import itertools
import json

import numpy as np
import pytest

import mqd
from mqd.checks import check as module
from mqd.checks.report import FINDINGS, CheckReport, Finding
from mqd.errors import StrategyRaised, UsageError
from mqd.indicators import donchian, sma
from tests.unit.checks.hashing import FollowsASet
from tests.unit.checks.made_bars import daily, walk

DICE = np.random.default_rng(3)
COUNTER = itertools.count()
TABLE = {"far": 1.0}


def check(strategy, bars, **words):
    """Check without compiling: what the compiled loop does is compared elsewhere."""
    return mqd.check(strategy, bars, engine="event", **words)


class Rule(mqd.Strategy):
    def decide(self, now, position):
        return 1.0 if now.signal > 0.0 else 0.0


class Clean(Rule):
    def features(self, bars):
        return {"signal": donchian(bars.high, bars.low, 20).upper - bars.close}


class Ahead(Rule):
    def features(self, bars):
        return {"signal": np.append(np.diff(bars.close), 0.0)}


def kinds(report):
    return [one.kind for one in report.findings]


def only(report, kind):
    (one,) = report.of(kind)
    return one


def test_lookahead_names_the_first_bar_and_both_values():
    bars = walk()
    one = only(check(Ahead(), bars), "lookahead")
    row = 63  # the last of the shortest cut: nothing earlier can be found
    close = np.datetime64(int(bars["AAA"].ts_close[row]), "ns").astype("datetime64[s]")
    assert one.bar == f"{close}Z"
    move = float(np.diff(bars["AAA"].close)[row])
    assert repr(move) in one.sentence
    assert "0.0 with the first 64 bars alone" in one.sentence
    assert one.symbol == "AAA"
    assert one.severity == "finding"


def test_the_warm_up_of_a_channel_of_20_earlier_bars_is_21_bars():
    one = only(check(Clean(), walk()), "warm-up")
    assert one.value == 21.0
    assert "first decision is at bar 21;" in one.sentence
    assert one.severity == "note"


class FromTheAnchor(Rule):
    def features(self, bars):
        return {"signal": np.cumsum(np.diff(bars.close, prepend=bars.close[:1]))}


class Wilder(Rule):
    def features(self, bars):
        out = np.array(bars.close)
        for row in range(1, len(out)):
            out[row] = 0.97 * out[row - 1] + 0.03 * bars.close[row]
        return {"signal": out}


def test_a_sum_from_the_first_bar_is_anchor_dependence_and_ok():
    report = check(FromTheAnchor(), walk())
    assert report.ok
    assert only(report, "anchor dependence").value is None
    assert "count from the anchor" in only(report, "anchor dependence").sentence


def test_a_recursive_feature_tells_the_window_within_the_tolerance():
    # a start off by a thousandth to a half of the value is within 1e-9 after
    # ln(1e-6) / ln(0.97) = 454 to ln(2e-9) / ln(0.97) = 658 bars, and equal after 1,200
    report = check(Wilder(), walk(1500))
    assert report.ok
    window = only(report, "anchor dependence").value
    assert window is not None
    assert 454 < window < 658


class Drawn(Rule):
    def features(self, bars):
        return {"signal": DICE.normal(size=len(bars))}


def test_chance_that_no_code_shows_is_found_by_computing_again():
    report = check(Drawn(), walk())
    assert not report.ok
    assert only(report, "non-determinism").symbol == "AAA"


class Counts(mqd.Strategy):
    def on_bar(self, desk, bar):
        held = desk.broker.position(bar.symbol).qty > 0
        if next(COUNTER) % 7 == 0 and not held:
            desk.broker.submit(mqd.OrderRequest(symbol=bar.symbol, side=mqd.Side.BUY, qty=10))


def test_two_runs_that_differ_are_non_determinism_and_not_lookahead():
    report = check(Counts(), walk(150))
    found = [kind for kind in kinds(report) if kind in FINDINGS]
    assert found == ["non-determinism"]
    assert "Two runs over the same bars differ: orders" in only(report, "non-determinism").sentence


def test_an_order_of_hashes_is_found_in_processes_of_their_own():
    report = check(FollowsASet(), walk(80))
    assert "PYTHONHASHSEED" in only(report, "non-determinism").sentence


def test_a_class_that_no_other_process_finds_is_told():
    class Local(FollowsASet):
        pass

    report = check(Local(), walk(80))
    assert report.ok
    assert any("cannot import it" in one.sentence for one in report.of("not checked"))


class Writes(Rule):
    def features(self, bars):
        TABLE["near"] = float(len(bars))
        return {"signal": np.array(bars.close)}


class WritesBars(Rule):
    def features(self, bars):
        bars.close[0] = 1.0
        return {"signal": np.array(bars.close)}


@pytest.mark.parametrize(
    ("kind", "said"), [(Writes, "writes to the global TABLE"), (WritesBars, "writes to bars.close")]
)
def test_a_write_is_impurity(kind, said):
    report = check(kind(), walk(100))
    assert not report.ok
    assert any(said in one.sentence for one in report.of("impurity"))


def test_an_engine_that_answers_otherwise_is_a_difference(monkeypatch):
    real = module.backtest

    def wrong(strategy, bars, *, engine="auto", **words):
        cash = {"cash": 50_000} if engine == "compiled" else {}
        return real(strategy, bars, engine="event", **(words | cash))

    monkeypatch.setattr(module, "backtest", wrong)
    report = mqd.check(Clean(), walk(150))
    one = only(report, "engine difference")
    assert "The compiled engine gives other results" in one.sentence
    assert "qty of row 0" in one.sentence
    assert not report.ok


def test_an_engine_that_answers_the_same_is_no_difference(monkeypatch):
    real = module.backtest

    def same(strategy, bars, *, engine="auto", **words):
        return real(strategy, bars, engine="event", **words)

    monkeypatch.setattr(module, "backtest", same)
    assert mqd.check(Clean(), walk(150)).ok


class HoldsFrom(mqd.Strategy):
    """Bought at the open after bar 2, sold at the open after bar 70."""

    def features(self, bars):
        return {"row": bars.session_index}

    def decide(self, now, position):
        return 1.0 if 2.0 <= now.row < 70.0 else 0.0


def test_the_breakeven_cost_of_one_round_trip_by_hand():
    # 100 x (1 + s) = 102 x (1 - s): s = 2 / 202 = 99.0 bps
    bars = daily([100.0] * 50 + [102.0] * 50)
    report = check(
        HoldsFrom(), bars, sizer=mqd.FixedQuantity(100), costs=mqd.Costs(slippage_bps=0.0)
    )
    found = only(report, "breakeven cost")
    assert found.value == pytest.approx(99.0, abs=2.1)
    assert found.sentence.startswith("total return 0.20 % at 0 bps slippage; it is zero at about")


class Alternates(mqd.Strategy):
    def features(self, bars):
        return {"odd": bars.session_index % 2.0}

    def decide(self, now, position):
        return now.odd


def test_the_breakeven_cost_of_a_compounding_rule_is_a_root():
    # bought at each low open and sold at each high one, 3 parts in 1,000 apart: the account
    # grows by (1003 / 1000) x (1 - s) / (1 + s) a round trip, which is 1 at s = 3 / 2003
    closes = np.where(np.arange(161) % 2 == 0, 1000.0, 1003.0)
    report = check(
        Alternates(), daily(closes[::1]), cash=10_000_000, costs=mqd.Costs(slippage_bps=0.0)
    )
    assert only(report, "breakeven cost").value == pytest.approx(1e4 * 3 / 2003, abs=0.4)


def test_a_loss_without_costs_has_no_breakeven():
    bars = daily([102.0] * 50 + [100.0] * 50)
    report = check(HoldsFrom(), bars, costs=mqd.Costs(slippage_bps=0.0))
    assert only(report, "breakeven cost").value is None
    # 980 shares lose 2 USD each
    assert only(report, "breakeven cost").sentence == (
        "total return \N{MINUS SIGN}1.96 % at 0 bps slippage, \N{MINUS SIGN}1.96 % without any:"
        " there is no breakeven cost."
    )


class StopAndTarget(mqd.Strategy):
    stop_loss_frac: float = mqd.param(0.05)
    take_profit_frac: float = mqd.param(0.05)

    def decide(self, now, position):
        return 1.0


def test_a_bar_that_holds_stop_and_target_is_counted():
    closes = np.full(100, 100.0)
    highs, lows = closes.copy(), closes.copy()
    highs[50], lows[50] = 110.0, 90.0
    bars = daily(closes, highs=highs, lows=lows)
    report = check(StopAndTarget(), bars, sizer=mqd.FixedQuantity(10))
    one = only(report, "bar-time ambiguity")
    assert one.value == 1.0
    assert one.sentence.startswith("1 bars held both the stop and the target")
    assert report.ok


class Divides(mqd.Strategy):
    def features(self, bars):
        return {"zero": np.zeros(len(bars))}

    def decide(self, now, position):
        return 1.0 if now.close / now.zero > 1.0 else 0.0


def test_plain_python_that_raises_where_compiled_code_divides_is_counted():
    report = check(Divides(), walk(100))
    one = only(report, "plain Python")
    assert one.value == 100.0
    assert "ZeroDivisionError" in one.sentence
    assert report.ok


def test_few_bars_are_told_and_no_cut_is_tried():
    report = check(Ahead(), walk(64))
    assert "cuts shorter than 64 are not tried" in report.findings[0].sentence
    assert not report.of("lookahead")


class LastBits(Rule):
    """Adds in another order when there are more bars: equal but for rounding."""

    def features(self, bars):
        blocks = np.arange(len(bars)) // 7
        total = np.array(bars.close)
        total[blocks % 2 == len(bars) % 2] += 1e-14
        return {"signal": total}


def test_a_difference_by_rounding_is_a_note():
    report = check(LastBits(), walk(200))
    assert report.ok
    assert only(report, "rounding").severity == "note"


class Short(Rule):
    def features(self, bars):
        return {"signal": sma(bars.close, 20) / float(len(bars) > 100 or 1 // 0)}


def test_features_that_fail_on_fewer_bars_fail_the_check_as_they_fail_a_run():
    with pytest.raises(StrategyRaised, match="ZeroDivisionError"):
        check(Short(), walk(200))


@pytest.mark.parametrize(
    ("strategy", "bars", "words", "said"),
    [
        (Clean, None, {}, "SmaCross"),
        (Clean(), "frame", {}, "not Bars"),
        (Clean(), None, {"n_cuts": 0}, "n_cuts = 0"),
        (Clean(), None, {"seed": 1.5}, "seed = 1.5"),
    ],
)
def test_wrong_words_are_refused(strategy, bars, words, said):
    with pytest.raises(UsageError, match=said):
        check(strategy, bars or walk(80), **words)


def test_a_report_prints_and_is_json():
    found = Finding("lookahead", "a < b", "AAA", "2015", 1.0), Finding("warm-up", "w")
    report = CheckReport("S()", "AAA", found)
    assert repr(report) == "S() on AAA: NOT ok\n  ! lookahead: a < b\n  - warm-up: w"
    assert "a &lt; b" in report._repr_html_()
    document = json.loads(json.dumps(report.to_dict()))
    assert document["ok"] is False
    assert document["findings"][0] == {
        "kind": "lookahead", "severity": "finding", "sentence": "a < b", "symbol": "AAA",
        "bar": "2015", "value": 1.0,
    }  # fmt: skip


def test_findings_come_before_notes_and_the_rest_is_told_to_be_left_out():
    report = check(Ahead(), walk())
    assert [one.severity for one in report.findings] == ["finding", "note"]
    assert "were not looked at" in report.findings[1].sentence
