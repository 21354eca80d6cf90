"""The table of endpoints, the specification and the venue's README name the same, and all of it."""

import csv
import re
from pathlib import Path

import pytest

from mqd.venue.openapi import operations
from tests.venue.venue_bench import HEADERS, ask, limit, step, venue_by_hand

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests" / "tables" / "venue_trading.csv"
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
README = (ROOT / "mqd" / "venue" / "README.md").read_text(encoding="utf-8")
OF_ALL = {401, 429}  # any request may get them: tested below
OF_BODIES = {400}  # a body that is no JSON object; data routes and /v3 use it for parameters too
BY_OP = {f"{one.method} {one.path}": one for one in operations()}
FOUND = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| ([0-9 ]+) \|", README, re.MULTILINE)


def statuses_of(one):
    return {int(status) for status in one.responses} - OF_ALL


def driven(one):
    pattern = re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(one.path)))
    rows = (row for row in ROWS if row["method"] == one.method and pattern.fullmatch(row["path"]))
    return {int(row["status"]) for row in rows} - OF_ALL


@pytest.mark.parametrize("label", sorted(BY_OP))
def test_every_status_of_an_endpoint_is_driven_by_a_row_and_no_other_comes(label):
    one = BY_OP[label]
    uses_400 = one.path.startswith(("/v3/", "/v1/", "/v2/stocks/"))
    wanted = statuses_of(one) if uses_400 else statuses_of(one) - OF_BODIES
    assert wanted <= driven(one) <= statuses_of(one)


@pytest.mark.parametrize("label", sorted(BY_OP))
def test_wrong_keys_and_too_many_requests_are_refused_everywhere(label):
    one = BY_OP[label]
    venue = venue_by_hand(rate_max=1)
    step(venue)
    path = re.sub(r"\{[^}]*\}", "AAA", one.path)
    wrong = {**HEADERS, "APCA-API-SECRET-KEY": "wrong"}
    answer = ask(venue, one.method, path, limit("90"), headers=wrong)
    assert (answer.status, answer.body["code"]) == (401, 40110000)
    assert ask(venue, "GET", "/v2/clock").status == 200
    answer = ask(venue, one.method, path, limit("90"))
    assert (answer.status, answer.body["code"]) == (429, 42910000)
    assert int(answer.headers["X-RateLimit-Reset"]) * 10**9 > venue.now_ns
    assert not venue.first.broker.open_orders()


def test_the_readme_names_every_endpoint_with_its_statuses():
    named = {label: {int(one) for one in statuses.split()} for label, statuses in FOUND}
    assert len(FOUND) == len(named)
    assert named == {label: statuses_of(one) - OF_BODIES | (
        driven(one) & OF_BODIES
    ) for label, one in BY_OP.items()}  # fmt: skip


@pytest.mark.parametrize("name", sorted({row["path"].rpartition("/")[2] for row in ROWS
                                         if row["path"].startswith("/_control/")}))  # fmt: skip
def test_the_readme_names_what_can_be_told_by_hand(name):
    assert f"`{name}`" in README
