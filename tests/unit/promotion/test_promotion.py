"""`promote`: the gates, the record, and what no longer matches it."""

import json
import re
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mqd
from mqd import trials
from mqd.cli import main as cli
from mqd.errors import UsageError
from mqd.live.config import read_config
from mqd.portfolio.sizing import FixedNotional
from mqd.promotion import gates
from mqd.promotion import promote as promotion
from mqd.promotion.code_version import code_version
from mqd.promotion.errors import BadRecord, NotPromoted, PromotionRefused
from mqd.promotion.record import admit, read_record, verify_record, write_record
from mqd.strategy.compiled import fingerprint
from mqd.strategy.library.sma_cross import SmaCross

ROOT = Path(__file__).parents[3]
DATA = ROOT / "datasets/us_equity_daily_raw.parquet"
LIMITS = ROOT / "live/limits/sample_paper_limits.toml"
CHOSEN = SmaCross(fast=20, slow=50)
GOOD = SimpleNamespace(
    orders=[1, 2], fills=[1], breaks=(), duplicates=0, lost_fills=0, equal=True, log_sha256="ab"
)


@pytest.fixture(scope="module")
def bars():
    """Bars on which sma_cross 20/50 passes every gate."""
    return mqd.load_bars(DATA, symbols=["AAPL"])


@pytest.fixture(scope="module")
def words():
    """The words of the sample desk."""
    return {
        "limits": mqd.Limits.from_toml(str(LIMITS)), "sizer": FixedNotional(Decimal(20_000)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def passed(bars, words, tmp_path_factory):
    """A promotion that passed: its record and file, and what the rehearsal was asked."""
    asked = []

    def rehearse(strategy, **given):
        asked.append((strategy, given))
        return GOOD

    file = tmp_path_factory.mktemp("promoted") / "new/promotion.json"
    record = promotion.promote(CHOSEN, bars, rehearse=rehearse, out=file, **words)
    return SimpleNamespace(record=record, file=file, asked=asked)


@pytest.fixture
def known(monkeypatch, bars, words, passed):
    """Let promotions of this test stand on good evidence, with changes; return a promoter."""
    evidence = promotion._Evidence(
        SimpleNamespace(findings=()), SimpleNamespace(metrics={"n_trades": 20.0}),
        SimpleNamespace(metrics={"sharpe": 0.5}, windows=[1], scheme="s", efficiency=1.0),
        1, None, None,
    )  # fmt: skip

    def run(out, rehearsed=GOOD, changed=None, **other):
        found = replace(evidence, **(changed or {}))
        monkeypatch.setattr(promotion, "_gather", lambda *_: found)
        given = words | other
        return promotion.promote(
            CHOSEN, bars, rehearse=lambda *_, **__: rehearsed, out=out, **given
        )

    return run


# --- gates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("costs", 1, 0), ("limits", 1, 0), ("model", 1, 0), ("model_unseen", 1, 0), ("check", 0, 1),
        ("trades", 20, 19),
        ("walk_forward", 1e-9, 0), ("deflated_sharpe", 0.95, 0.9499), ("pbo", 0.5, 0.5001),
        ("rehearsal_equal", 1, 0), ("rehearsal_breaks", 0, 1), ("rehearsal_duplicates", 0, 1),
        ("rehearsal_lost_fills", 0, 1),
    ],
)  # fmt: skip
def test_each_gate_stands_at_its_bound(name, good, bad):
    assert gates.judge(name, good).passed
    assert not gates.judge(name, bad).passed
    nothing = gates.judge(name, float("nan"))
    assert (nothing.passed, nothing.value) == (False, None)


def test_the_table_of_the_docs_is_the_table_of_the_code():
    rows = re.findall(r"^\| (\w+) \| .* \| (.*) \|$", gates.__doc__, re.MULTILINE)
    written = {name: bound for name, bound in rows if name != "gate"}
    words = {"yes": "yes", "<=": "at most {:g}", ">=": "at least {:g}", ">": "above {:g}"}
    said = {n: words[b.word].format(b.number) for n, b in gates.BOUNDS.items()}
    assert {n: b.replace(">=", "at least") for n, b in written.items()} == said


# --- a strategy that passes --------------------------------------------------------------------


def test_the_record_says_what_was_promoted_and_on_what(passed, bars, words):
    told = json.loads(passed.file.read_text())
    assert told["strategy"] == {
        "name": "mqd.strategy.library.sma_cross:SmaCross", "class": "SmaCross",
        "code": fingerprint(CHOSEN), "parameters": {"fast": 20, "slow": 50},
        "models": [],
    }  # fmt: skip
    assert told["data"]["sha256"] == bars.sha256
    assert told["data"]["rows"] == {"AAPL": bars.n_bars}
    assert told["limits"] == words["limits"].sha256
    assert told["settings"]["costs"]["slippage_bps"] == 1.0
    assert told["version"] == code_version()
    assert told["version"].startswith(f"{mqd.__version__}+")
    assert told["trials"] == 1
    assert told["rehearsal"]["orders"] == 2
    assert told["metrics"]["walk_forward"]["windows"] == 4
    found = {gate["name"]: gate for gate in told["gates"]}
    assert set(found) == gates.MANDATORY
    assert all(gate["passed"] for gate in found.values())


def test_the_numbers_of_the_record_are_those_of_the_runs(passed, bars, words):
    told = passed.record.metrics
    again = mqd.backtest(SmaCross(fast=20, slow=50), bars, **words).metrics
    assert told["backtest"]["final_equity"] == again.final_equity
    assert told["backtest"]["n_trades"] == again.n_trades == 28
    n = bars.n_bars
    walk = mqd.walk_forward(
        SmaCross, bars, {"fast": [20], "slow": [50]}, train=n // 2, test=n // 8, **words
    )
    assert told["walk_forward"]["sharpe"] == walk.metrics.sharpe > 0
    found = {gate.name: gate.value for gate in passed.record.gates}
    assert found["trades"] == 28
    assert found["walk_forward"] == walk.metrics.sharpe


def test_the_rehearsal_runs_the_same_strategy_with_the_same_words(passed, words):
    (asked,) = passed.asked
    assert repr(asked[0]) == repr(CHOSEN)
    assert asked[1]["limits"] is words["limits"]
    assert asked[1]["sizer"] is words["sizer"]
    assert set(asked[1]) == {
        "cash", "sizer", "costs", "fills", "limits", "multiplier", "rebalance_band_frac",
    }  # fmt: skip


def test_what_is_read_is_what_was_written(passed):
    assert read_record(passed.file) == passed.record
    assert read_record(passed.file).sha256 == passed.record.sha256


# --- a strategy that does not ------------------------------------------------------------------


def failed(caught):
    return [gate.name for gate in caught.value.gates if not gate.passed]


@pytest.mark.parametrize(
    "costs",
    [mqd.Costs(), mqd.Costs(borrow_bps_per_year=50), mqd.Costs(regulatory=True)],
)
def test_evidence_without_costs_is_refused_before_anything_runs(bars, words, tmp_path, costs):
    def rehearse(*_, **__):
        raise AssertionError("it must not be rehearsed")

    with pytest.raises(PromotionRefused, match="fees or slippage are charged: no") as caught:
        promotion.promote(
            CHOSEN, bars, rehearse=rehearse, out=tmp_path / "r.json", costs=costs, **words
        )
    assert failed(caught) == ["costs"]
    assert caught.value.exit_code == 1
    assert not (tmp_path / "r.json").exists()


def test_research_limits_are_no_limits(bars, tmp_path):
    with pytest.raises(PromotionRefused, match="--limits") as caught:
        promotion.promote(CHOSEN, bars, rehearse=lambda *_: GOOD, out=tmp_path / "r.json")
    assert failed(caught) == ["limits"]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"breaks": ("AAPL: we 3, venue 2",)}, "rehearsal_breaks"),
        ({"equal": False}, "rehearsal_equal"), ({"equal": None}, "rehearsal_equal"),
        ({"duplicates": 1}, "rehearsal_duplicates"), ({"lost_fills": 2}, "rehearsal_lost_fills"),
    ],
)  # fmt: skip
def test_a_rehearsal_that_is_not_clean_is_refused(known, tmp_path, other, name):
    rehearsed = SimpleNamespace(**(vars(GOOD) | other))
    with pytest.raises(PromotionRefused) as caught:
        known(tmp_path / "r.json", rehearsed)
    assert failed(caught) == [name]
    assert not (tmp_path / "r.json").exists()
    for said in other.get("breaks") or ():
        assert said in str(caught.value)


def test_every_gate_that_failed_is_named(known, tmp_path):
    finding = SimpleNamespace(severity="finding", sentence="It looks ahead.")
    changed = {
        "report": SimpleNamespace(findings=(finding,)),
        "result": SimpleNamespace(metrics={"n_trades": 3.0}),
        "walk": SimpleNamespace(metrics={"sharpe": float("nan")}),
        "n_trials": 9, "deflated": 0.2, "pbo": 0.7,
    }  # fmt: skip
    with pytest.raises(PromotionRefused, match="5 gate") as caught:
        known(tmp_path / "r.json", changed=changed)
    assert failed(caught) == ["check", "trades", "walk_forward", "deflated_sharpe", "pbo"]
    assert "It looks ahead." in str(caught.value)
    assert "9 trials" in str(caught.value)


def test_a_search_is_judged_by_its_trials(bars, words, tmp_path):
    grid = {"fast": [10, 20, 30], "slow": [50, 100]}
    study = tmp_path / "study"
    with pytest.raises(PromotionRefused) as caught:
        promotion.promote(
            CHOSEN, bars, rehearse=lambda *_, **__: GOOD, out=tmp_path / "r.json", grid=grid,
            study=study, **words,
        )  # fmt: skip
    assert failed(caught) == ["deflated_sharpe", "pbo"]
    assert trials.count(study) == 7  # six combinations and the backtest
    found = mqd.sweep(SmaCross, bars, grid, symbols="pooled", **words)
    row = found.table.query("fast == 20 and slow == 50").index[0]
    gate = next(one for one in caught.value.gates if one.name == "deflated_sharpe")
    assert gate.value == pytest.approx(found.deflated_sharpe(int(row), 7))
    assert "7 trials" in gate.sentence


def test_parameters_outside_the_grid_are_refused(bars, words, tmp_path):
    with pytest.raises(UsageError, match="is not in the grid"):
        promotion.promote(
            CHOSEN, bars, rehearse=lambda *_, **__: GOOD, out=tmp_path / "r.json",
            grid={"fast": [5, 10]}, **words,
        )  # fmt: skip


def test_trials_of_a_study_count_without_a_grid_too(bars, words, tmp_path):
    trials.record(tmp_path / "study", "sweep", 500, "earlier")
    with pytest.raises(PromotionRefused, match="Name the grid") as caught:
        promotion.promote(
            CHOSEN, bars, rehearse=lambda *_, **__: GOOD, out=tmp_path / "r.json",
            study=tmp_path / "study", **words,
        )  # fmt: skip
    assert failed(caught) == ["deflated_sharpe", "pbo"]


def test_a_record_is_never_overwritten(known, tmp_path):
    (tmp_path / "r.json").write_text("evidence")
    with pytest.raises(UsageError, match="never overwritten"):
        known(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "evidence"


def test_one_length_of_a_walk_forward_is_not_enough(bars):
    assert promotion.Windows(train=100, test=20).words(bars)["train"] == 100
    with pytest.raises(UsageError, match="both spans"):
        promotion.Windows(train=100).words(bars)


# --- what no longer matches --------------------------------------------------------------------


def test_what_was_promoted_may_trade(passed, words):
    verify_record(passed.record, SmaCross(fast=20, slow=50), words["limits"])
    verify_record(
        read_record(passed.file), CHOSEN, words["limits"],
        settings={"sizer": repr(words["sizer"])}, data={"symbols": ["AAPL"]},
    )  # fmt: skip


def other_code():
    """Return a strategy of the same name whose rule differs by one comparison."""

    class Changed(SmaCross):
        def decide(self, now, position):
            return 1.0 if now.fast >= now.slow else 0.0

    Changed.__name__ = "SmaCross"
    return Changed(fast=20, slow=50)


def test_changed_code_parameters_and_limits_are_refused(passed, words):
    limits = words["limits"]
    tighter = replace(limits, deny=frozenset({"IBM"}))
    for strategy, binding, said in (
        (other_code(), limits, "code: SmaCross was changed"),
        (SmaCross(fast=21, slow=50), limits, "parameters: "),
        (CHOSEN, tighter, "limits: "),
    ):
        with pytest.raises(NotPromoted) as caught:
            verify_record(passed.record, strategy, binding)
        assert len(caught.value.differences) == 1
        assert said in caught.value.differences[0]


def test_another_version_and_failed_or_missing_gates_are_refused(passed, words):
    record, limits = passed.record, words["limits"]
    few = tuple(gate for gate in record.gates if gate.name != "rehearsal_equal")
    failing = (*few, gates.judge("rehearsal_equal", 0))
    claimed = (*few, gates.judge("rehearsal_equal", 0)._replace(passed=True))
    for changed, said in (
        (replace(record, version="0.0.1"), "this is version"),
        (replace(record, gates=few), "rehearsal_equal: the record does not have it"),
        (replace(record, gates=failing), "rehearsal_equal: it is not passed"),
        (replace(record, gates=claimed), "rehearsal_equal: it is not passed"),
        (replace(record, trials=2), "deflated_sharpe: the record does not have it"),
    ):
        with pytest.raises(NotPromoted, match=said):
            verify_record(changed, CHOSEN, limits)


@given(data=st.data())
def test_a_record_with_any_value_changed_is_not_read(passed, tmp_path_factory, data):
    told = json.loads(passed.file.read_text())
    key = data.draw(st.sampled_from(sorted(told)))
    told[key] = data.draw(st.integers() | st.text() | st.lists(st.integers(), max_size=3))
    file = tmp_path_factory.mktemp("changed") / "r.json"
    file.write_text(json.dumps(told))
    if told == json.loads(passed.file.read_text()):
        assert read_record(file) == passed.record
    else:
        with pytest.raises(BadRecord, match=r"mqd promote"):
            read_record(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"schema": "2"}', '{"schema": "1"}'])
def test_what_is_no_record_is_a_sentence(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadRecord, match=r"r\.json"):
        read_record(tmp_path / "r.json")
    with pytest.raises(BadRecord, match="cannot be read"):
        read_record(tmp_path / "none.json")


@pytest.mark.filterwarnings("ignore:websockets.legacy:DeprecationWarning")  # of alpaca-py itself
def test_a_real_rehearsal_opens_its_gates(known, bars, words, tmp_path):
    from mqd.live.rehearsal import DataSpec, rehearse

    span = {"symbols": ["AAPL"], "start": "2010-01-04", "end": "2010-06-30"}
    done = rehearse(CHOSEN, DataSpec(DATA, span), cash=100_000, **words)
    record = known(tmp_path / "r.json", done)
    assert record.rehearsal["fills"] == len(done.fills) > 0
    assert record.rehearsal["log_sha256"] == done.log_sha256
    assert {gate.name: gate.value for gate in record.gates}["rehearsal_equal"] == 1


# --- a configuration and its record ------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, passed):
    """Return a function that reads the sample configuration with changes and its record."""
    sample = (ROOT / "live/config/sample_paper.toml").read_text()

    def read(*changes):
        text = sample.replace("../../runs/sample_paper_promotion.json", str(passed.file))
        text = text.replace("../limits/sample_paper_limits.toml", str(LIMITS))
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "desk.toml").write_text(text)
        return read_config(tmp_path / "desk.toml", rehearsal=True)

    return read


def test_the_sample_desk_trades_what_was_promoted(desk, passed):
    assert admit(desk()) == passed.record


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fast = 20", "fast = 21", "parameters"),
        ("notional=20000", "notional=20001", "settings: sizer"),
        ('lot = "1"', 'lot = "1"\nbogus = 1', None),
        ('timeframe = "1day"', 'timeframe = "60min"', "data: timeframe"),
        ("[orders]", "[orders]\nmultiplier = 2", "settings: multiplier"),
    ],
)
def test_a_configuration_that_left_its_record_is_refused(desk, old, new, said):
    if said is None:
        with pytest.raises(UsageError.__mro__[1], match="unknown key"):
            desk((old, new))
        return
    with pytest.raises(NotPromoted, match=said):
        admit(desk((old, new)))


def test_a_configuration_without_a_record_is_refused(desk, passed):
    with pytest.raises(BadRecord, match="names no promotion record"):
        admit(desk((f'promotion = "{passed.file}"', "")))
    with pytest.raises(BadRecord, match="cannot be read"):
        admit(desk((str(passed.file), "nowhere.json")))


# --- the command -------------------------------------------------------------------------------

COMMAND = [
    "promote", "sma_cross", "--data", str(DATA), "--symbols", "AAPL", "--limits", str(LIMITS),
    "--sizer", "notional=20000",
]  # fmt: skip


@pytest.fixture
def rehearsed(monkeypatch):
    """Let the command's rehearsal be told, without a venue, and remember what it was asked."""
    asked = []
    told = SimpleNamespace(
        DataSpec=lambda path, words: SimpleNamespace(path=path, words=words),
        rehearse=lambda strategy, data, **words: asked.append((strategy, data, words)) or GOOD,
    )
    monkeypatch.setitem(sys.modules, "mqd.live.rehearsal", told)
    return asked


def test_the_command_writes_the_record(rehearsed, tmp_path, capsys, passed):
    out = tmp_path / "r.json"
    assert cli.main([*COMMAND, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["promoted"] is True
    assert read_record(out).gates == passed.record.gates
    assert read_record(out).config == passed.record.config
    assert told["sha256"] == read_record(out).sha256
    assert rehearsed[0][1].path == DATA
    assert rehearsed[0][1].words["symbols"] == ["AAPL"]


def test_the_command_names_the_gate_that_failed(rehearsed, tmp_path, capsys):
    out = tmp_path / "r.json"
    assert cli.main([*COMMAND, "--out", str(out), "--slippage-bps", "0"]) == 1
    assert "FAIL  costs: " in capsys.readouterr().out
    grid = ["--grid", "fast=10:30:10", "--grid", "slow=50,100", "--where", "fast<slow"]
    assert cli.main([*COMMAND, *grid, "--out", str(out), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["promoted"] is False
    failed = [gate["name"] for gate in told["gates"] if not gate["passed"]]
    assert failed == ["deflated_sharpe", "pbo"]
    assert not out.exists()
    assert len(rehearsed) == 1


def test_a_record_that_is_there_is_refused_first(rehearsed, tmp_path, capsys, passed):
    assert cli.main([*COMMAND, "--out", str(passed.file)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert rehearsed == []
    with pytest.raises(UsageError):
        write_record(passed.record, passed.file)
