"""Results of shadows in a notebook: one calm line, and a small table that reads."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mqd.ml.evaluation.comparison import compare
from mqd.ml.evaluation.scoring import score_log
from mqd.ml.evaluation.shown import figure, table_html, with_interval
from tests.unit.ml.shadow_lines import A, B, came, said, write


def rows(shown):
    """Return the table's rows as texts; what is no well-formed markup is an error."""
    tree = ET.fromstring(shown)
    return {line[0].text: (line[1].text, line[2].text or "") for line in tree.iter("tr")}


def log(folder, n, a=A, b=B):
    """b says 0.75 when it will go up and 0.25 else; a always says 0.5."""
    up = np.random.default_rng(4).random(n) < 0.5
    records = []
    for ts in range(1, n + 1):
        right = 0.75 if up[ts - 1] else 0.25
        ret = 0.01 if up[ts - 1] else -0.01
        records += [said(a, ts, 0.5), said(b, ts, right), came(ts, ret)]
    return write(folder, records, (a, b)), int(up.sum())


def test_a_comparison_is_a_line_and_a_table(tmp_path):
    folder, _ = log(tmp_path, 400)
    found = compare(folder, "simple", "better")
    assert repr(found) == "Comparison(simple and better, 400 pairs: better is better)"
    shown = rows(found._repr_html_())
    # (0.5 - up)^2 - (0.75 or 0.25 - up)^2 is 0.25 - 0.0625 for each pair
    value, words = shown["Brier, simple minus better"]
    assert value == "+0.18750 [+0.18750, +0.18750]"
    assert words == "simple loses more"
    assert shown["Evidence, read daily"][1] == "better is better"
    assert shown["Pairs"] == ("400", "in 400 spans of the label")
    assert found._repr_html_().startswith("<div><b>simple and better: better is better</b>")
    again = compare(folder, "better", "simple")
    assert rows(again._repr_html_())["Brier, better minus simple"][1] == "simple loses more"
    assert repr(again).endswith("better is better)")


def test_too_few_pairs_show_dashes_and_say_so(tmp_path):
    found = compare(log(tmp_path, 12)[0], "simple", "better")
    assert repr(found) == "Comparison(simple and better, 12 pairs: too few pairs to judge)"
    shown = rows(found._repr_html_())
    assert shown["Brier, simple minus better"] == ("–", "")
    assert shown["McNemar"] == ("p = –", "")
    assert "nan" not in found._repr_html_()


def test_two_versions_of_a_name_are_told_by_their_hashes(tmp_path):
    one = B._replace(name=A.name)
    found = compare(log(tmp_path, 400, b=one)[0], A.sha256, one.sha256)
    assert repr(found).startswith("Comparison(simple@aaaaaaaa and simple@bbbbbbbb, 400")


def test_a_score_is_a_line_and_a_table(tmp_path):
    folder, n_up = log(tmp_path, 400)
    simple, better = score_log(folder).values()
    line = "ModelScore(better@bbbbbbbb: 400 of 400 predictions matured, 100.0% right)"
    assert repr(better) == line
    shown = rows(better._repr_html_())
    base = n_up / 400
    assert shown["Brier"][0] == "0.0625"
    assert shown["Brier"][1].startswith(f"less than the {base * (1 - base):.4f}")
    assert shown["Right"] == ("100.0%", f"{base:.1%} were up")
    assert shown["Right of its signals"][1].endswith("lies below the interval")
    assert rows(simple._repr_html_())["Brier"][1].startswith("no less than")


def test_a_score_of_nothing_shows_no_nan(tmp_path):
    (score, _) = score_log(write(tmp_path, [said(A, 1, 0.4)], (A, B))).values()
    assert "nan" not in score._repr_html_()
    assert rows(score._repr_html_())["Brier"] == ("–", "")


@pytest.mark.parametrize("place", ["title", "name", "value", "words", "said"])
def test_what_others_named_is_escaped(place):
    texts = dict.fromkeys(("title", "name", "value", "words", "said"), "calm")
    texts[place] = "<b onload=x>&"
    row = texts["name"], texts["value"], texts["words"]
    shown = table_html(texts["title"], [row], texts["said"])
    assert "<b onload" not in shown
    assert "&lt;b onload=x&gt;&amp;" in shown
    assert re.search('script|style=(?!"text-align)', shown) is None


def test_numbers_have_their_unit_and_none_is_a_dash():
    assert figure(12.345, ".1f", " ms") == "12.3 ms"
    assert figure(float("nan"), ".1f", " ms") == "–"
    assert with_interval((0.5, 0.25, 0.75), ".0%") == "50% [25%, 75%]"
