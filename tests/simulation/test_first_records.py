"""A desk that was killed before its first records begins anew; after them it goes on."""

from __future__ import annotations

import pytest

from mqd.live.books import open_books
from mqd.live.folder import StateFolder
from mqd.log_reader import read

WORDS = {"mode": "rehearsal", "account": "a", "config": "c"}


@pytest.fixture
def folder(tmp_path):
    with StateFolder.open(tmp_path / "state", account="a" * 64, mode="rehearsal") as held:
        yield held


def test_a_log_folder_without_a_segment_is_none(folder):
    (folder.path / "log").mkdir(mode=0o700)
    books = open_books(folder, **WORDS)
    books.close("done")
    assert not books.resumed
    assert next(one.kind for one in read(folder.path)) == "segment.open"


def test_a_log_without_its_deposit_has_not_begun(folder):
    first = open_books(folder, **WORDS)
    first.journal.write("run.start", {"strategies": []})
    first.close("failed")
    second = open_books(folder, **WORDS)
    assert not second.resumed
    second.journal.write("cash", {"account": "deposits", "symbol": "", "amount": "100"})
    second.close("failed")
    third = open_books(folder, **WORDS)
    third.close("done")
    assert third.resumed
