"""A log that was closed is opened without reading its lines, and read from its end for what is new:
both say what reading all of it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mqd
import mqd.ml.shadow.known as kept_beside
from mqd.core.bar import bar_row
from mqd.core.clock import iso
from mqd.errors import LogDamaged, ModelRefused, UsageError
from mqd.ml.features.labels import FixedHorizon, TripleBarrier, label_hash, label_spec
from mqd.ml.shadow import asked as shadow_asked
from mqd.ml.shadow.asked import read_asked, read_newest
from mqd.ml.shadow.chunks import Chunk
from mqd.ml.shadow.known import KEPT, Known
from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.outcomes import Joined, joined
from mqd.ml.shadow.records import FILE, Heard, Matured, read_records
from mqd.ml.shadow.replay import _outcomes, _predictions
from tests.unit.ml.shadow_lines import FEATURES, A, B, came, said, watched

DATA = "datasets/us_equity_daily_raw.parquet"
STEPS = st.lists(
    st.tuples(st.sampled_from("pohx"), st.sampled_from((A, B)), st.integers(1, 6)), max_size=25
)


def write(folder, steps):
    """Write what a start, and each step, says: a prediction, an outcome, a gap, a restart."""
    log = ShadowLog.open(folder)
    log.start((A, B), ())
    for kind, model, ts in steps:
        if kind == "p":
            log.predict(said(model, ts, 0.5), model.schema, FEATURES)
        elif kind == "o":
            log.mature(came(ts, 0.1))
        elif kind == "h":
            log.hear(Heard(ts, "S", 2))
        else:
            log.close()
            log = ShadowLog.open(folder)
            log.start((A, B), ())
    log.close()


def facts(known):
    return (
        known.n_bytes, known.n_lines, known.digest.hexdigest(), known.horizons, known.last_ns,
        list(known.pending),
    )  # fmt: skip


@given(STEPS)
def test_what_was_kept_is_what_the_lines_say(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("log")
    write(folder, steps)
    kept = facts(Known.of(folder))
    (folder / KEPT).unlink()
    assert kept == facts(Known.of(folder))


@given(STEPS, st.integers(1, 4))
def test_lines_behind_what_was_kept_are_read(tmp_path_factory, steps, ts):
    folder = tmp_path_factory.mktemp("log")
    write(folder, steps)
    earlier = (folder / KEPT).read_bytes()
    with ShadowLog.open(folder) as log:
        log.start((A, B), ())
        log.predict(said(A, 6 + ts, 0.5), A.schema, FEATURES)
        log.mature(came(6 + ts, 0.1))
    last = facts(Known.of(folder))
    (folder / KEPT).write_bytes(earlier)  # as if the process had been killed
    assert facts(Known.of(folder)) == last


def test_a_log_that_was_closed_is_not_read_line_by_line(tmp_path, monkeypatch):
    write(tmp_path, [("p", A, 1), ("p", A, 2)])
    asked = []
    read = kept_beside.read_chunks

    def spied(folder, **words):
        asked.append(words["offset"])
        return read(folder, **words)

    monkeypatch.setattr(kept_beside, "read_chunks", spied)
    ShadowLog.open(tmp_path).close()
    assert asked == [(tmp_path / FILE).stat().st_size]


def spoil_kept(folder):
    text = (folder / KEPT).read_bytes()
    (folder / KEPT).write_bytes(text.replace(b'"pending":[[', b'"pending":[["T",9,"x"],['))


def cut_kept(folder):
    (folder / KEPT).write_bytes((folder / KEPT).read_bytes()[:-40])


def spoil_seal(folder):
    (folder / KEPT).write_bytes(b"\xff\xfe\n{}")


def of_another_log(folder):
    other = folder / "other"
    write(other, [("p", B, 5), ("p", B, 6), ("p", A, 6)])
    (folder / KEPT).write_bytes((other / KEPT).read_bytes())


def no_object(folder):
    (folder / KEPT).write_bytes(
        b"4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945\n[]"
    )


@pytest.mark.parametrize("spoil", [spoil_kept, cut_kept, spoil_seal, of_another_log, no_object])
def test_what_was_kept_of_another_log_or_damaged_is_not_believed(tmp_path, spoil):
    write(tmp_path, [("p", A, 1), ("o", A, 1), ("p", A, 2)])
    before = facts(Known.of(tmp_path))
    spoil(tmp_path)
    assert facts(Known.of(tmp_path)) == before


def test_damage_in_a_log_that_was_closed_is_still_refused(tmp_path):
    write(tmp_path, [("p", A, 1), ("p", A, 2), ("p", A, 3)])
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes().replace(b'"ts":2', b'"tt":2'))
    with pytest.raises(LogDamaged, match="line 3"):
        ShadowLog.open(tmp_path)


@given(st.integers(1, 12), st.integers(1, 400), st.booleans())
def test_the_newest_are_the_last_of_all(tmp_path_factory, rows, block, is_torn):
    folder = tmp_path_factory.mktemp("log")
    steps = [("p", model, ts) for ts in range(1, 6) for model in (A, B)]
    write(folder, steps)
    if is_torn:
        lines = (folder / FILE).read_bytes().splitlines()
        with (folder / FILE).open("ab") as log:
            log.write(lines[1].replace(b'"ts":1', b'"ts":9'))  # all of it but the newline
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shadow_asked, "BLOCK_BYTES", block)
        newest = read_newest(folder, A.sha256, rows)
    assert newest == list(read_asked(folder, A.sha256))[-rows:]
    assert [one.said.ts_ns for one in newest] == list(range(1, 6))[-rows:]


def test_a_damaged_prediction_near_the_end_is_named_by_its_line(tmp_path):
    write(tmp_path, [("p", A, 1), ("p", A, 2), ("p", A, 3)])
    file = tmp_path / FILE
    whole = file.read_text()
    for found, spoilt in (
        ('"ts":2', '"ts":2.5'),
        ('"x":[0.1', '"x":["a"'),
        ('"x":[0.1', '"y":[0.1'),
    ):
        lines = whole.splitlines(keepends=True)
        lines[2] = lines[2].replace(found, spoilt)
        file.write_text("".join(lines))
        with pytest.raises(LogDamaged, match="line 3"):
            read_newest(tmp_path, A.sha256, 5)


def test_outcomes_of_a_bar_that_was_missed_differ_from_those_of_the_bars(tmp_path):
    ibm = mqd.load_bars(DATA, symbols=["IBM"])["IBM"].rows(slice(0, 60))
    label = FixedHorizon(3)
    spec, horizon = label_spec(label), label_hash(label)
    model = watched("one", "a", horizon=horizon)._replace(label=spec)

    for name, missed in (("whole", 99), ("holed", 30)):
        watch = label.watch()
        with ShadowLog.open(tmp_path / name) as log:
            log.start((model,), ())
            log.hear(Heard(int(ibm.ts_close[0]), "IBM"))
            for at in range(60):
                row = bar_row(ibm, at)
                if at == missed:
                    continue
                log.predict(said(model, row.ts_close, 0.5, "IBM"), model.schema, np.zeros(2))
                for one in watch.put(row):
                    log.mature(came(one.t0, one.ret_frac, "IBM", span=one.t1 - one.t0,
                                    horizon=horizon, label=one.label))  # fmt: skip
        (found,) = _outcomes(tmp_path / name, {horizon: spec}, held(ibm))
        assert found.equal == (name == "whole")
    assert (found.n, found.found.frame["differ"]["span_ns"]) == (56, 3)


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["_write", "_line", "_known.predict", "_known.mature"])
def test_a_write_that_was_interrupted_is_not_kept_as_if_it_were_whole(tmp_path, where):
    """Whatever stands in the file is what the next start knows, to the line."""
    log = ShadowLog.open(tmp_path)
    log.start((A,), ())
    log.predict(said(A, 1, 0.5), A.schema, FEATURES)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Known if "." in where else log, where.rpartition(".")[2], interrupted)
        words = (came(1, 0.1),) if "mature" in where else (said(A, 2, 0.5), A.schema, FEATURES)
        with pytest.raises(KeyboardInterrupt):
            (log.mature if "mature" in where else log.predict)(*words)
    log.predict(said(A, 4, 0.5), A.schema, FEATURES)  # and goes on
    log.close()
    kept = facts(Known.of(tmp_path))
    (tmp_path / KEPT).unlink(missing_ok=True)
    assert kept == facts(Known.of(tmp_path))
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 5, 0.5), A.schema, FEATURES)
        for ts in range(1, 6):
            log.mature(came(ts, 0.1))
    assert not Known.of(tmp_path).pending
    parts = [one for one in joined(tmp_path) if isinstance(one, Joined)]
    told = sorted(ts for one in parts for ts in one.ts_ns.tolist())
    assert told in ([1, 4, 5], [1, 2, 4, 5])  # the second stands in the file, or it does not


def test_a_line_that_is_finished_while_it_is_read_is_no_damage(tmp_path):
    write(tmp_path, [("p", A, 1), ("p", A, 2), ("p", A, 3)])
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    read = kept_beside.read_chunks(tmp_path)
    next(read)  # the start
    chunks = [next(read)]
    file.write_bytes(whole)
    chunks += read
    assert [ts for one in chunks for ts in one.said.ts_ns.tolist()] == [1, 2]


def test_lines_that_tell_where_symbols_begin_do_not_cut_chunks(tmp_path):
    steps = [step for ts in range(1, 7) for step in (("h", A, ts), ("p", A, ts))]
    write(tmp_path, steps)
    (chunk,) = [one for one in kept_beside.read_chunks(tmp_path) if isinstance(one, Chunk)]
    assert chunk.said.line.tolist() == [3, 5, 7, 9, 11, 13]


def held(ibm, symbol="IBM"):
    class Held:
        symbols = (symbol,)

        def __getitem__(self, _):
            return ibm

    return Held()


def barrier_log(folder, ibm, rows, heard_at, *, corrected=False):
    """Write outcomes of a barrier label of the bars ``rows``, heard from row ``heard_at`` on."""
    label = TripleBarrier(5, 1.0, 1.0, vol_bars=10)
    spec, horizon = label_spec(label), label_hash(label)
    model = watched("one", "a", horizon=horizon)._replace(label=spec)
    watch = label.watch()
    with ShadowLog.open(folder) as log:
        log.start((model,), ())
        log.hear(Heard(int(ibm.ts_close[heard_at]), "IBM"))
        for at in rows:
            row = bar_row(ibm, at)
            log.predict(said(model, row.ts_close, 0.5, "IBM"), model.schema, np.zeros(2))
            for one in watch.put(row):
                log.mature(came(one.t0, one.ret_frac, "IBM", span=one.t1 - one.t0,
                                horizon=horizon, label=one.label))  # fmt: skip
        if corrected:
            log.hear(Heard(int(ibm.ts_close[rows[-20]]), "IBM"))
            log.flush()
            first = next(one for one in read_records(folder) if isinstance(one, Matured))
            log.correct(first._replace(again=False))
    return {horizon: spec}


@pytest.fixture(scope="module")
def ibm():
    return mqd.load_bars(DATA, symbols=["IBM"])["IBM"].rows(slice(0, 120))


def test_outcomes_that_could_not_be_computed_are_not_equal(ibm, tmp_path):
    """Bars that begin later than what was heard: the volatility does not warm up in time."""
    labels = barrier_log(tmp_path, ibm, range(100), 0)
    (found,) = _outcomes(tmp_path, labels, held(ibm))
    assert found.equal, found.verdict
    (found,) = _outcomes(tmp_path, labels, held(ibm.rows(slice(60, 120))))
    assert not found.equal
    assert found.n_missing > 40
    assert found.n_open == 0
    assert f"the row {iso(int(ibm.ts_close[10]))} IBM is online only" in found.verdict
    (found,) = _outcomes(tmp_path, labels, held(ibm.rows(slice(98, 99))))
    assert (found.equal, found.found) == (False, None)
    assert "have no bar" in found.verdict


def test_outcomes_that_were_known_after_the_last_bar_are_left_out(ibm, tmp_path):
    labels = barrier_log(tmp_path, ibm, range(100), 0)
    (found,) = _outcomes(tmp_path, labels, held(ibm.rows(slice(0, 95))))
    came_later = [
        one for one in read_records(tmp_path)
        if isinstance(one, Matured) and one.ts_ns <= ibm.ts_close[94] < one.t1
    ]  # fmt: skip
    assert found.n_open == len(came_later) > 0


def test_a_correction_is_compared_from_where_its_outcome_was_heard(ibm, tmp_path):
    labels = barrier_log(tmp_path, ibm, range(100), 0, corrected=True)
    (found,) = _outcomes(tmp_path, labels, held(ibm))
    assert found.equal, found.verdict


def test_a_log_that_does_not_say_where_it_begins_says_so(ibm, tmp_path):
    labels = barrier_log(tmp_path, ibm, range(100), 0)
    file = tmp_path / FILE
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith('{"k":"h"')))
    (found,) = _outcomes(tmp_path, labels, held(ibm.rows(slice(7, 120))))
    assert "does not say from which bar on" in found.verdict


def test_an_outcome_of_a_label_that_nobody_named_is_a_sentence(ibm, tmp_path):
    barrier_log(tmp_path, ibm, range(60), 0)
    with pytest.raises(UsageError, match="which no start names"):
        _outcomes(tmp_path, {}, held(ibm))


def test_a_model_that_is_gone_is_said_and_ends_no_replay(ibm, tmp_path):
    class Gone:
        def load(self, reference):
            raise ModelRefused(reference[:12], "its manifest cannot be read")

    barrier_log(tmp_path, ibm, range(30), 0)
    found = _predictions(tmp_path, Gone(), watched("one", "a"), held(ibm))
    assert (found.equal, found.n, found.found) == (False, 30, None)
    assert "its manifest cannot be read" in found.verdict
    assert _predictions(tmp_path, Gone(), watched("other", "b"), held(ibm)) is None
