"""``mqd paper`` as a process against a venue that runs by itself: whole days, and every refusal."""

import json
from datetime import UTC, datetime

import pytest
import requests

from mqd.log_reader import read
from tests.venue.paper_world import (
    ACCOUNT_ID,
    kinds,
    mqd,
    said,
    start_venue,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.slow
PACE = 600


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A venue whose clock hardly moves: desks are refused before anything happens there."""
    with start_venue(tmp_path_factory.mktemp("venue"), 1) as venue:
        yield venue


def test_a_day_with_a_stop_in_it_ends_with_equal_books(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        first = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: kinds(state).count("fill") >= 3)
        second = mqd("paper", config, "--rehearsal", f"{PACE}x")
        code, _, why = said(second)
        assert code == 3, why
        first.terminate()
        code, told, why = said(first)
        assert (code, told["stopped"], told["breaks"]) == (0, "SIGTERM", []), why
        code, told, why = said(
            mqd("paper", config, "--rehearsal", f"{PACE}x", "--until-close", "--json")
        )
        assert code == 0, why
        assert (told["breaks"], told["duplicates"], told["lost_fills"]) == ([], 0, 0)
        assert told["fills"] >= 10
        code, told, why = said(mqd("reconcile", config, "--rehearsal", "--json"))
        assert (code, told["equal"], told["desk_runs"]) == (0, True, False), why
    seen = kinds(state)
    assert seen.count("run.start") == 1
    assert seen.count("run.resume") == 1
    said_last = json.loads((state / "heartbeat.json").read_text())
    assert said_last["state"] == "stopped"
    assert 0 < said_last["bars"] < 391
    assert {"n_passed", "late_bars", "n_late_taken", "n_backfilled"} <= said_last.keys()
    assert (state / "watchdog.json").exists()


def test_what_the_account_did_before_the_desk_is_none_of_it(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}
        order = {"symbol": "MSFT", "qty": "3", "type": "market", "time_in_force": "day"}

        def ask(path, body=None):
            how = "POST" if body else "GET"
            url = f"{venue.url}{path}"
            return requests.request(how, url, json=body, headers=signed, timeout=10).json()

        for side in ("buy", "sell"):
            name = ask("/v2/orders", order | {"side": side})["id"]
            wait_for(lambda name=name: ask(f"/v2/orders/{name}")["status"] == "filled")
        assert ask("/v2/positions") == []
        config = write_config(tmp_path, venue)
        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: kinds(state).count("fill") >= 2)
        desk.terminate()
        code, told, why = said(desk)
        assert (code, told["breaks"], told["duplicates"]) == (0, [], 0), why
        code, told, why = said(mqd("reconcile", config, "--rehearsal", "--json"))
        assert (code, told["equal"]) == (0, True), why


def test_a_kill_ends_the_desk_with_nothing_open_and_it_stays_shut(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: "fill" in kinds(state))
        assert said(mqd("kill", config, "--reason", "the test says so"))[0] == 0
        code, told, why = said(desk)
        assert told["killed"], why
        assert (code, told["breaks"]) == (0, [])
        after = kinds(state)
        assert "intent" not in after[after.index("kill") :]
        code, _, why = said(mqd("paper", config, "--rehearsal", f"{PACE}x"))
        assert (code, "latch is set" in why) == (1, True)


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"sha": "0" * 64}, 2, "the keys open another account"),
        ({"least": 500_000, "most": 600_000}, 2, "outside the band"),
        ({"url": "http://127.0.0.1:9/"}, 2, "ends with a slash"),
        ({"url": "http://127.0.0.1:9"}, 2, "the venue did not answer"),
        ({"url": "https://api.alpaca.markets"}, 2, "is not that of paper trading"),
        ({"url": ""}, 2, "endpoint"),
    ],
)
def test_an_account_that_does_not_agree_is_refused(changes, code, sentence, still, tmp_path):
    config = write_config(tmp_path, still, **changes)
    found, _, why = said(mqd("paper", config, "--rehearsal", "1x"))
    assert sentence in why
    assert found == code
    assert still.secret not in why
    assert kinds(tmp_path / "state") == []


def test_live_keys_open_keys_and_hand_orders_are_refused(still, tmp_path):
    config = write_config(tmp_path, still)
    keys = tmp_path / "paper.keys"
    text = keys.read_text()
    keys.write_text(text.replace('"PK', '"AK'))
    code, _, why = said(mqd("paper", config, "--rehearsal", "1x"))
    assert (code, "does not begin with PK" in why) == (2, True)
    keys.write_text(text)
    keys.chmod(0o644)
    code, _, why = said(mqd("paper", config, "--rehearsal", "1x"))
    assert (code, "chmod 600" in why) == (2, True)
    keys.chmod(0o600)
    signed = {"APCA-API-KEY-ID": still.key_id, "APCA-API-SECRET-KEY": still.secret}
    order = {
        "symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1",
        "time_in_force": "day",
    }  # fmt: skip
    reply = requests.post(f"{still.url}/v2/orders", json=order, headers=signed, timeout=10)
    assert reply.status_code == 200
    code, _, why = said(mqd("paper", config, "--rehearsal", "1x"))
    assert (code, "holds positions or open orders (MSFT)" in why) == (1, True)
    requests.delete(f"{still.url}/v2/orders", headers=signed, timeout=10)
    assert kinds(tmp_path / "state") == []


def test_without_a_rehearsal_this_machine_is_no_broker_and_a_record_is_wanted(still, tmp_path):
    config = write_config(tmp_path, still)
    code, _, why = said(mqd("paper", config))
    assert (code, "this machine" in why) == (2, True)
    alpaca = write_config(tmp_path, still, url="https://paper-api.alpaca.markets")
    code, _, why = said(mqd("paper", alpaca))
    assert (code, "promotion is missing" in why) == (2, True)
    code, _, why = said(mqd("live", write_config(tmp_path, still, more='promotion = "none.json"')))
    assert code == 2
    code, _, why = said(mqd("reconcile", config, "--rehearsal"))
    assert (code, "no desk has begun" in why or "no such folder" in why) == (2, True)


def test_the_anchor_is_a_session(tmp_path, still):
    from mqd.live.config import read_config
    from mqd.live.trading import market_plan

    config = read_config(write_config(tmp_path, still), rehearsal=True)
    opens = datetime(2022, 5, 19, 13, 30, tzinfo=UTC)
    plan = market_plan(config, int(datetime(2022, 5, 20, tzinfo=UTC).timestamp()) * 10**9)
    assert plan.first_ns == int(opens.timestamp()) * 10**9
    assert plan.extras == ("vwap", "trade_count")


HOLDER = """
import mqd


class Holder(mqd.Strategy):
    stop_loss_frac: float = mqd.param(0.2, low=0.0, high=0.5)

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 2)}

    def decide(self, now, position):
        return 1.0
"""


def test_a_killed_desk_that_died_is_settled_and_rearmed_by_commands_alone(tmp_path):
    """Its stop works at the venue; start and rearm must not refuse each other."""
    state = tmp_path / "state"
    (tmp_path / "holder.py").write_text(HOLDER)
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue, strategy="holder.py:Holder")
        text = config.read_text()
        config.write_text(text.replace("fast = 3\nslow = 8\n", ""))
        signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}

        def working():
            orders = requests.get(f"{venue.url}/v2/orders", headers=signed, timeout=10).json()
            return [one["type"] for one in orders]

        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: "stop" in working())
        desk.kill()
        desk.communicate()
        assert said(mqd("kill", config, "--reason", "the test says so"))[0] == 0
        rearm = ("rearm", config, "--reason", "seen", "--account", ACCOUNT_ID)
        code, _, why = said(mqd(*rearm))
        assert code != 0
        assert "'mqd kill', then start the desk" in why
        code, told, why = said(mqd("paper", config, "--rehearsal", f"{PACE}x", "--json"))
        assert (code, told["killed"], told["breaks"]) == (0, True, []), why
        assert working() == []
        code, _, why = said(mqd(*rearm))
        assert code == 0, why
    assert "intent" not in kinds(state)[kinds(state).index("kill") :]


def test_an_order_placed_by_hand_during_a_session_freezes_its_symbol_and_is_left_alone(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: "fill" in kinds(state))
        signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}
        order = {
            "symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1",
            "time_in_force": "gtc",
        }  # fmt: skip

        def placed():
            """The venue refuses it (403) while a sale of the desk's rests: no wash trades."""
            reply = requests.post(f"{venue.url}/v2/orders", json=order, headers=signed, timeout=10)
            assert reply.status_code in (200, 403), reply.text
            return reply.status_code == 200

        wait_for(placed)
        wait_for(lambda: "reconcile" in kinds(state))
        wait_for(lambda: "denied" in kinds(state))
        desk.terminate()
        code, told, why = said(desk)
        left = requests.get(f"{venue.url}/v2/orders", headers=signed, timeout=10).json()
    assert code == 1, why
    assert any("foreign" in one for one in told["breaks"]), told
    assert [(one["symbol"], one["limit_price"]) for one in left] == [("MSFT", "1")]
    found = [one.payload for one in read(state) if one.kind == "reconcile"]
    assert any("MSFT" in line for line in found[0]["breaks"])
    denied = [str(one.payload["refusals"]) for one in read(state) if one.kind == "denied"]
    assert any("reconciliation (control 29)" in refusals for refusals in denied), denied
