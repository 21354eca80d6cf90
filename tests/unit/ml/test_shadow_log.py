"""The shadow's log: floats to the bit, one writer, torn ends cut, damage named by its line."""

import json
import math
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mqd.errors import LogDamaged, StateFolderTaken, UsageError
from mqd.ml.shadow.asked import read_asked
from mqd.ml.shadow.chunks import Chunk, read_chunks
from mqd.ml.shadow.log import ShadowLog, features_hash
from mqd.ml.shadow.records import FILE, Matured, Prediction, read_records, read_watched
from tests.unit.ml.shadow_lines import FEATURES, HORIZON, A, B, came, said, write

GOOD = (said(A, 1, 0.25), came(1, 0.5), said(A, 2, 0.75), came(2, -0.5), said(A, 3, 0.5))


def records(folder):
    return [one for one in read_records(folder) if isinstance(one, Prediction | Matured)]


def replace_line(folder, number, text):
    file = folder / FILE
    lines = file.read_text().splitlines(keepends=True)
    lines[number - 1] = text + "\n"
    file.write_text("".join(lines))


def as_table(folder, rows):
    """Return a log's predictions and outcomes as the chunks tell them."""
    found = []
    for part in read_chunks(folder, rows):
        if not isinstance(part, Chunk):
            continue
        words = part.words.texts
        for line, ts, symbol, model, score, source, latency, _ in zip(*part.said, strict=True):
            found.append((line, ts, words[symbol], words[model], score, words[source], latency))
        for line, ts, symbol, t1, ret, label, horizon, _ in zip(*part.came, strict=True):
            found.append((line, ts, words[symbol], t1, ret, label, words[horizon]))
    return sorted(found)


def test_what_was_written_is_read_again(tmp_path):
    write(tmp_path, GOOD)
    assert records(tmp_path) == list(GOOD)
    assert read_watched(tmp_path) == {A.sha256: A, B.sha256: B}


def test_a_line_is_what_the_format_says(tmp_path):
    write(tmp_path, [said(A, 7, 0.1, error='deadline: "late"'), came(7, 0.5)])
    _, told, outcome = map(json.loads, (tmp_path / FILE).read_text().splitlines())
    assert told == {
        "k": "p", "ts": 7, "symbol": "S", "model": "a" * 64, "schema": "5" * 64, "score": 0.1,
        "source": "model", "latency_ns": 1000, "error": 'deadline: "late"',
        "xh": features_hash(FEATURES), "x": [0.1, -2.5],
    }  # fmt: skip
    assert outcome == {
        "k": "o", "ts": 7, "symbol": "S", "t1": 8, "ret_frac": 0.5, "label": 1,
        "horizon": HORIZON,
    }  # fmt: skip


@pytest.mark.parametrize("value", [5e-324, 0.1, -0.0, 1.7976931348623157e308, 2.0**53 + 2, 1e22])
def test_floats_come_back_to_the_bit_from_both_readers(tmp_path, value):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 1, value), A.schema, np.array([value, 1.0]))
    (asked,) = read_asked(tmp_path, A.sha256)
    bits = struct.pack("d", value)
    assert struct.pack("d", asked.said.score) == bits == struct.pack("d", asked.features[0])
    chunk = next(one for one in read_chunks(tmp_path) if isinstance(one, Chunk))
    assert chunk.said.score.tobytes() == bits


def test_what_is_no_number_is_null(tmp_path):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 1, math.nan), A.schema, np.array([math.inf, math.nan]))
    told = json.loads((tmp_path / FILE).read_text().splitlines()[1])
    assert (told["score"], told["x"]) == (None, [None, None])
    (asked,) = read_asked(tmp_path, A.sha256)
    assert math.isnan(asked.said.score)
    assert all(map(math.isnan, asked.features))


def test_models_that_share_a_bar_have_their_own_features(tmp_path):
    with ShadowLog.open(tmp_path) as log:
        log.start((A, B), ())
        for ts, values in ((1, [1.0, 2.0]), (2, [3.0, 4.0])):
            for model in (A, B):
                log.predict(said(model, ts, 0.5), model.schema, np.array(values))
    for model in (A, B):
        assert [one.features for one in read_asked(tmp_path, model.sha256)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("rows", [1, 2, 3, 50_000])
def test_chunks_tell_what_the_records_tell(tmp_path, rows):
    write(tmp_path, GOOD)
    write(tmp_path, [said(B, 3, 0.5, source="rule", symbol="Ü"), came(3, 0.1)])
    told = [
        (line, *one[:3], *one[3:6])
        for line, one in enumerate(read_records(tmp_path), start=1)
        if isinstance(one, Prediction | Matured)
    ]
    assert as_table(tmp_path, rows) == told


def test_a_prediction_that_is_there_already_is_passed_over(tmp_path):
    write(tmp_path, GOOD)
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        assert not log.predict(said(A, 3, 0.9), A.schema, FEATURES)
        assert not log.predict(said(A, 2, 0.9), A.schema, FEATURES)
        assert log.predict(said(A, 4, 0.9), A.schema, FEATURES)
        assert log.predict(said(A, 2, 0.9, symbol="T"), A.schema, FEATURES)
    assert [one.ts_ns for one in records(tmp_path) if isinstance(one, Prediction)] == [
        1,
        2,
        3,
        4,
        2,
    ]


def test_what_waits_is_known_after_a_restart(tmp_path):
    write(tmp_path, GOOD)
    with ShadowLog.open(tmp_path) as log:
        assert list(log.pending) == [("S", 3, HORIZON)]
        assert log.last_ns == {("a" * 64, "S"): 3}
        assert not log.mature(came(2, -0.5))
        assert log.mature(came(3, 0.5))


def test_an_outcome_of_nothing_is_passed_over(tmp_path):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 5, 0.5), A.schema, FEATURES)
        assert not log.mature(came(4, 0.5))
        assert not log.mature(came(5, 0.5, symbol="T"))
        assert not log.mature(came(5, 0.5, horizon="f" * 12))
    assert len(records(tmp_path)) == 1


@pytest.mark.parametrize("span", [0, -1])
def test_an_outcome_before_its_prediction_is_refused(tmp_path, span):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 5, 0.5), A.schema, FEATURES)
        with pytest.raises(UsageError, match="before its prediction"):
            log.mature(came(5, 0.5, span=span))


def test_a_model_that_nobody_watches_is_refused(tmp_path):
    with (
        ShadowLog.open(tmp_path) as log,
        pytest.raises(UsageError, match="is not watched"),
    ):
        log.predict(said(A, 5, 0.5), A.schema, FEATURES)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_last_line_that_was_cut_goes_to_a_side_file(tmp_path, cut):
    write(tmp_path, GOOD)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-cut])
    torn = whole[:-cut].rpartition(b"\n")[2]
    assert records(tmp_path) == list(GOOD[:-1])
    with ShadowLog.open(tmp_path) as log:
        assert log.last_ns == {("a" * 64, "S"): 2}
        log.start((A,), ())
        log.predict(GOOD[-1], A.schema, FEATURES)
    assert (tmp_path / "predictions.torn-1").read_bytes() == torn
    assert records(tmp_path) == list(GOOD)


def test_a_second_torn_line_has_a_file_of_its_own(tmp_path):
    write(tmp_path, GOOD)
    for number in (1, 2):
        with (tmp_path / FILE).open("ab") as log:
            log.write(b'{"k":"p","ts' + b"1" * number)
        ShadowLog.open(tmp_path).close()
    assert (tmp_path / "predictions.torn-2").read_bytes() == b'{"k":"p","ts11'
    assert records(tmp_path) == list(GOOD)


def test_a_torn_line_longer_than_a_block_is_cut_whole(tmp_path):
    write(tmp_path, GOOD)
    with (tmp_path / FILE).open("ab") as log:
        log.write(b"x" * 200_000)
    ShadowLog.open(tmp_path).close()
    assert (tmp_path / "predictions.torn-1").stat().st_size == 200_000
    assert records(tmp_path) == list(GOOD)


def record_by_record(folder):
    return list(read_records(folder))


DAMAGE = {
    "no JSON": ("{\"k\":\"p\",\"ts\":1", "no record"),
    "another kind": ('{"k":"z"}', "kind 'z'"),
    "no kind": ('{"ts":1}', "no record"),
    "a number": ("17", "no record"),
    "a text for a time": (
        '{"k":"o","ts":"1","symbol":"S","t1":2,"ret_frac":0.1,"label":1,"horizon":"h"}',
        "ts is '1'",
    ),
    "a part is missing": ('{"k":"o","ts":1,"symbol":"S"}', "no record"),
    "known before it was": (
        '{"k":"o","ts":5,"symbol":"S","t1":5,"ret_frac":0.1,"label":1,"horizon":"h"}',
        "before its prediction",
    ),
    "no number": (
        '{"k":"o","ts":5,"symbol":"S","t1":6,"ret_frac":NaN,"label":1,"horizon":"h"}',
        "NaN is no number",
    ),
    "a model without a start": (
        '{"k":"p","ts":1,"symbol":"S","model":"ffff","score":0.5,"source":"model","latency_ns":1}',
        "no start names ffff",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize(
    "read", [record_by_record, lambda folder: list(read_chunks(folder)), ShadowLog.open]
)
def test_damage_in_the_middle_is_refused_with_its_line(tmp_path, name, read):
    write(tmp_path, GOOD)
    line, words = DAMAGE[name]
    replace_line(tmp_path, 4, line)
    with pytest.raises(LogDamaged, match=words) as caught:
        read(tmp_path)
    assert caught.value.line == 4


def test_damage_among_the_features_is_found_by_its_line(tmp_path):
    write(tmp_path, GOOD)
    lines = (tmp_path / FILE).read_text().splitlines()
    replace_line(tmp_path, 4, lines[3].replace('"x":[0.1,', '"x":[0.1,,'))
    with pytest.raises(LogDamaged, match="no record") as caught:
        list(read_chunks(tmp_path))
    assert caught.value.line == 4


def test_two_records_on_one_line_are_damage(tmp_path):
    write(tmp_path, GOOD)
    lines = (tmp_path / FILE).read_text().splitlines()
    replace_line(tmp_path, 3, lines[1] + lines[2])
    with pytest.raises(LogDamaged) as caught:
        list(read_chunks(tmp_path))
    assert caught.value.line == 3


def test_a_log_that_is_refused_may_be_opened_again(tmp_path):
    write(tmp_path, GOOD)
    before = (tmp_path / FILE).read_text()
    replace_line(tmp_path, 4, "oh")
    with pytest.raises(LogDamaged):
        ShadowLog.open(tmp_path)
    (tmp_path / FILE).write_text(before)
    ShadowLog.open(tmp_path).close()
    assert (tmp_path / FILE).read_text() == before


def test_a_folder_without_a_log_is_said(tmp_path):
    for read in (read_records, read_chunks, read_watched):
        with pytest.raises(UsageError, match="holds no shadow"):
            list(read(tmp_path))


def test_another_process_cannot_write_the_log(tmp_path):
    other = textwrap.dedent("""
        import sys
        from mqd.errors import StateFolderTaken
        from mqd.ml.shadow.log import ShadowLog
        try:
            ShadowLog.open(sys.argv[1])
        except StateFolderTaken as error:
            print(error, error.exit_code)
    """)
    with ShadowLog.open(tmp_path), pytest.raises(StateFolderTaken):
        ShadowLog.open(tmp_path)
    with ShadowLog.open(tmp_path):
        told = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert (
        told.stdout
        == f"Another process holds {tmp_path}. Stop it first, or use another folder. 3\n"
    )
    ShadowLog.open(tmp_path).close()


def test_what_was_flushed_may_be_read_while_it_is_written(tmp_path):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, 1, 0.5), A.schema, FEATURES)
        assert records(tmp_path) == []
        log.flush()
        assert records(tmp_path) == [said(A, 1, 0.5)]


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    with ShadowLog.open(tmp_path) as log:
        log.start((A,), ())
        log.predict(said(A, np.int64(1), np.float64(0.25)), A.schema, FEATURES)
        log.mature(came(1, np.float64(0.5)))
    assert records(tmp_path) == [said(A, 1, 0.25), came(1, 0.5)]
