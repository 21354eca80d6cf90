"""Reading a log in parts: from a record on, and again after it was verified."""

from __future__ import annotations

import pytest

from mqd.errors import LogDamaged
from mqd.log_reader import read, read_again, read_from
from mqd.transaction_log import TransactionLog, new_run_folder

N = 40


@pytest.fixture
def folder(tmp_path):
    """A log in several segments: opened anew after every ten records."""
    path = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(path, {"run_id": "r"}, durable=False)
    for number in range(N):
        if number and number % 10 == 0:
            log.close("stopped")
            log = TransactionLog.resume(path, {"run_id": "r"}, durable=False)
        log.append("cash", number, {"account": "fees", "amount": f"{number}.25", "text": "é\n"})
    log.close("stopped")
    return path


@pytest.mark.parametrize("seq", [0, 1, 2, 9, 11, 12, 13, 30, 47, 48, 49, 99])
def test_from_a_record_on_the_same_records_come(folder, seq):
    whole = list(read(folder))
    assert len(whole) == N + 8
    assert list(read_from(folder, seq)) == [one for one in whole if one.seq >= seq]


def test_again_is_the_same_without_hashes(folder):
    wanted = [one._replace(line_sha256="", body=b"") for one in read(folder)]
    assert list(read_again(folder)) == wanted


@pytest.mark.parametrize("damaged", [5, 20, 33])
def test_damage_from_there_on_is_found(folder, damaged):
    text = f'"amount":"{damaged}.25"'.encode()
    (segment,) = [one for one in (folder / "log").glob("*.ndjson") if text in one.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(text, text.replace(b".25", b".26")))
    seq = next(
        one.seq for one in read_again(folder) if one.payload.get("amount") == f"{damaged}.26"
    )
    with pytest.raises(LogDamaged):
        list(read_from(folder, seq - 2))
    with pytest.raises(LogDamaged):
        list(read_from(folder, seq))
    assert [one.seq for one in read_from(folder, seq + 2)] == list(range(seq + 2, N + 9))


def test_a_torn_last_line_ends_each_reading(folder):
    last = max((folder / "log").glob("*.ndjson"))
    last.write_bytes(last.read_bytes()[:-5])
    n = len(list(read(folder)))
    assert n == N + 7
    assert len(list(read_again(folder))) == n
    assert len(list(read_from(folder, 40))) == n - 39
