"""The rule that keeps notebooks' texts true finds what it should, and no more."""

import pytest

from tests.notebooks.told import differing, unfounded

SHOWN = ["hit rate 0.5139, Brier 0.2628\n441 combinations, 12.0% drawdown, from 2011-01-01\n"]
CODE = ["limits(drawdown_frac_max=0.10)"]


@pytest.mark.parametrize(
    "text",
    [
        "right 51.4 % of the time, a loss of 0.263",
        "441 pairs; from 2011 on",
        "12.0 % and not the limit's 10 %",
        "# 07 A heading",
        "the law P12, the call `rsi(99)`",
    ],
)
def test_what_is_shown_or_set_is_founded(text):
    assert unfounded([text], SHOWN, CODE) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("right 51.5 % of the time", "51.5"), ("442 pairs", "442"), ("a loss of 0.2629", "0.2629")],
)
def test_another_number_is_told(text, number):
    assert unfounded([text], SHOWN, CODE) == [f"{number} in: {text}"]


def test_outputs_may_differ_by_a_rounding_and_no_more():
    before = ["Sharpe 1.12, p = 1.9e-08\nday 3"]
    assert differing(["Sharpe 1.13, p = 2.1e-08\nday 3"], before) == []
    assert differing(["Sharpe 1.32, p = 1.9e-08\nday 3"], before) == [
        ("Sharpe 1.32, p = 1.9e-08", "Sharpe 1.12, p = 1.9e-08")
    ]
