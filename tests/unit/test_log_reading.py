"""Reading a log in parts: from a record on, and again after it was verified."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqd.errors import LogDamaged
from mqd.log_reader import Verifier, pass_over, read, read_again, read_from
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


@pytest.mark.parametrize("after", [0, 1, 11, 12, 13, 24, 47, 48, 99])
def test_again_after_a_record_the_same_records_come(folder, after):
    wanted = [one._replace(line_sha256="", body=b"") for one in read(folder) if one.seq > after]
    assert list(read_again(folder, after)) == wanted


def told(folder, passing):
    """Return kind, instant and body of each record, and the sentence when one is damaged."""
    found, verifier = [], Verifier()
    try:
        for one in pass_over(folder, verifier) if passing else read(folder, verifier):
            found += [(one.kind, one.ts_ns, one.body)]
    except LogDamaged as damaged:
        return found, str(damaged)
    return found, (verifier.seq, verifier.prev, verifier.segment)


def forged(line):
    """Return a line with another amount, and a checksum that fits it."""
    head = line[:-19].replace(b'.25"', b'.26"')
    assert head != line[:-19]
    return head + b',"crc":"%08x"}\n' % crc32(head)


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_passing_over_finds_what_reading_finds(folder, data):
    """A line changed, forged, doubled, left out or swapped: both say the same, at the same line."""
    paths = sorted((folder / "log").glob("*.ndjson"))
    path = data.draw(st.sampled_from(paths))
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    at = data.draw(st.integers(1, len(lines) - 3))
    match data.draw(st.sampled_from(["none", "byte", "forge", "double", "drop", "swap"])):
        case "byte":
            place = data.draw(st.integers(0, len(lines[at]) - 2))
            changed = lines[at][place] ^ 1
            lines[at] = lines[at][:place] + bytes([changed]) + lines[at][place + 1 :]
        case "forge":
            lines[at] = forged(lines[at])
        case "double":
            lines.insert(at, lines[at])
        case "drop":
            del lines[at]
        case "swap":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
    after = b"".join(lines)
    path.write_bytes(after)
    try:
        found = told(folder, passing=True)
        assert found == told(folder, passing=False)
        assert isinstance(found[1], str) == (after != before)
    finally:
        path.write_bytes(before)
