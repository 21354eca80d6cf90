"""A desk that goes on with a log waits for a venue that is away; a first start says so at once."""

from types import SimpleNamespace

import pytest

from mqd.adapters.alpaca import binding
from mqd.adapters.alpaca.errors import BindingRefused, VenueLies, VenueUnreachable
from mqd.adapters.alpaca.session import objects
from mqd.live import trading


def refused(cause):
    error = BindingRefused("the account could not be read")
    error.__cause__ = cause
    return error


@pytest.fixture
def asked(monkeypatch):
    """Let the account answer what a list holds, and return how often it was asked."""
    answers, calls = [], []

    def account(_config, _keys, *, rehearsal):
        calls.append(rehearsal)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(trading, "_account", account)
    monkeypatch.setattr(trading, "PATIENCE_S", (0.0, 0.0))
    return answers, calls


def opening(has_log):
    folder = SimpleNamespace(has_log=has_log)
    return trading._opening(None, None, folder, rehearsal=True)


AWAY = VenueUnreachable("GET /v2/account", "connection refused")


def test_a_restart_asks_again_until_the_venue_answers(asked):
    answers, calls = asked
    answers += [refused(AWAY), refused(AWAY), "opened"]
    assert opening(True) == "opened"
    assert len(calls) == 3


def test_a_binding_says_that_the_venue_was_away(monkeypatch):
    def away(_path):
        raise AWAY

    with pytest.raises(BindingRefused, match="did not answer") as found:
        binding._ask(SimpleNamespace(ask=away), "/v2/account", "id")
    assert found.value.__cause__ is AWAY


@pytest.mark.parametrize("lie", [{"code": 1}, "text", [1], [{"symbol": "A"}, None]])
def test_an_answer_that_is_no_list_of_objects_is_a_sentence(lie):
    session = SimpleNamespace(ask=lambda _path, _query, *, urgent: lie)
    with pytest.raises(VenueLies, match="no list of objects"):
        objects(session, "/v2/positions")


def test_it_gives_up_in_the_end(asked):
    answers, calls = asked
    answers += [refused(AWAY)] * 3
    with pytest.raises(BindingRefused):
        opening(True)
    assert len(calls) == 3


@pytest.mark.parametrize("has_log", [True, False])
def test_another_account_and_a_first_start_are_refused_at_once(asked, has_log):
    answers, calls = asked
    answers.append(refused(None) if has_log else refused(AWAY))
    with pytest.raises(BindingRefused):
        opening(has_log)
    assert len(calls) == 1
