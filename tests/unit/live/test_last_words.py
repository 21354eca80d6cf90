"""Which orders a log leaves open: by hand, and the same from status and from rearm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mqd.live.last_words import IN_DOUBT, WORKS, may_be_open, not_over

ROW = {"id": "a", "qty": "5", "filled_qty": "0", "last_event": "ack"}


def said(*words):
    """Return records about the order: a kind, or (kind, the venue's status word)."""
    pairs = [(word, "") if isinstance(word, str) else word for word in words]
    return [
        SimpleNamespace(kind="report", payload={"id": "a", "kind": kind, "status": status})
        for kind, status in pairs
    ]


@pytest.mark.parametrize(
    ("words", "fate"),
    [
        ([], IN_DOUBT),
        (["outcome_unknown"], IN_DOUBT),
        (["outcome_unknown", "not_found_yet", "not_found_yet"], IN_DOUBT),
        (["outcome_unknown", "not_found_yet", "accepted"], WORKS),
        (["ack", "outcome_unknown"], WORKS),
        (["ack", ("found", "new")], WORKS),
        (["ack", ("found", "canceled"), ("found", "canceled")], None),
        (["ack", "canceled", "ack"], None),
        (["outcome_unknown", "not_found"], None),
        (["outcome_unknown", "not_found", "not_found_yet"], None),
        (["outcome_unknown", "not_found", "not_found_yet", ("found", "new")], WORKS),
        (["outcome_unknown", "not_found", ("found", "filled"), "ack"], None),
    ],
)
def test_what_is_known_of_an_order_by_hand(words, fate):
    found = not_over([ROW], said(*words))
    assert [row["fate"] for row in found] == ([] if fate is None else [fate])


def test_only_what_no_last_word_ends_may_be_open():
    assert may_be_open(ROW)
    assert may_be_open(ROW | {"last_event": "not_found_yet"})
    assert not may_be_open(ROW | {"filled_qty": "5"})
    assert not may_be_open(ROW | {"last_event": "denied"})
