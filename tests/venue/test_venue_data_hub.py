"""The hub of the market data sockets without a server: plans, limits, batches, FAKEPACA."""

import json

import msgpack
import pytest

from mqd.venue.data_stream import BATCH, DataHub, DataSession

NS = 10**9
AT = 1704205800 * NS + 123456789


class Keys(dict):
    def get_pair(self, key, secret):
        return self.get((key, secret))


class Line:
    """One client: what it got, and whether it was closed."""

    def __init__(self, one, endpoint="iex", headers=None):
        self.got, self.closed = [], False
        self.session = DataSession(one, endpoint, headers or {}, self.got.append, self.close)
        self.session.opened()

    def close(self):
        self.closed = True

    def say(self, **words):
        self.session.received(json.dumps(words))
        frame = self.got[-1]
        return msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)

    @property
    def last(self):
        return json.loads(self.got[-1])

    def login(self, key="K", secret="S"):
        return self.say(action="auth", key=key, secret=secret)


def a_hub(**words):
    return DataHub(Keys({("K", "S"): "account", ("K2", "S2"): "other"}).get_pair, **words)


def bar(symbol="MSFT", **more):
    return {"S": symbol, "T": "b", "o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "n": 1, "vw": 1.5,
            "t": AT, **more}  # fmt: skip


def code_of(messages):
    return [one.get("code") for one in messages]


def test_a_client_hears_what_it_subscribed_to_and_nothing_else():
    one = a_hub()
    line = Line(one)
    assert line.last == [{"T": "success", "msg": "connected"}]
    assert line.login() == [{"T": "success", "msg": "authenticated"}]
    line.say(action="subscribe", bars=["MSFT"], trades=["SPY"])
    one.publish([bar(), bar("SPY"), {"T": "t", "S": "SPY", "t": AT}, {"T": "q", "S": "SPY"}])
    assert [(m["T"], m["S"]) for m in line.last] == [("b", "MSFT"), ("t", "SPY")]
    assert line.last[0]["t"] == "2024-01-02T14:30:00.123456789Z"
    assert next(iter(line.last[0])) == "T"
    line.say(action="unsubscribe", bars=["MSFT"])
    line.say(action="subscribe", bars=["*"])
    one.publish([bar("X"), bar("Y")])
    assert [m["S"] for m in line.last] == ["X", "Y"]


def test_a_msgpack_client_gets_timestamps():
    one = a_hub()
    line = Line(one, headers={"content-type": "application/msgpack"})
    line.login()
    line.say(action="subscribe", bars=["*"])
    one.publish([bar()])
    [message] = msgpack.unpackb(line.got[-1])
    assert message["t"] == msgpack.Timestamp(1704205800, 123456789)
    assert msgpack.unpackb(line.got[-1])[0].keys() == bar().keys()


def test_many_messages_come_in_frames_below_a_mebibyte():
    one = a_hub()
    line = Line(one)
    line.login()
    line.say(action="subscribe", bars=["*"])
    before = len(line.got)
    one.publish([bar(f"S{n}") for n in range(2 * BATCH + 1)])
    frames = line.got[before:]
    assert [len(json.loads(one)) for one in frames] == [BATCH, BATCH, 1]
    assert max(len(one) for one in frames) < 2**20


def test_the_free_plan_has_thirty_symbols_and_no_sip():
    one = a_hub(plan="free")
    line = Line(one)
    line.login()
    thirty = [f"S{n}" for n in range(30)]
    assert line.say(action="subscribe", trades=thirty)[0]["T"] == "subscription"
    assert code_of(line.say(action="subscribe", quotes=["S30"])) == [405]
    assert not line.closed
    assert line.say(action="subscribe", quotes=["S29"], bars=["S77"])[0]["T"] == "subscription"
    sip = Line(one, "sip")
    assert code_of(sip.login()) == [409]
    assert sip.closed


def test_one_connection_an_account_and_endpoint():
    one = a_hub()
    first, second, other, sip = Line(one), Line(one), Line(one), Line(one, "sip")
    first.login()
    assert code_of(second.login()) == [406]
    assert second.closed
    assert other.login("K2", "S2")[0]["T"] == "success"
    assert sip.login()[0]["T"] == "success"
    first.session.closed()
    assert Line(one).login()[0]["T"] == "success"


@pytest.mark.parametrize(("ends", "code"), [("timed_out", 404), ("too_slow", 407)])
def test_the_last_words_before_the_door_closes(ends, code):
    line = Line(a_hub())
    getattr(line.session, ends)()
    assert (code_of(line.last), line.closed) == ([code], True)


def test_who_authenticated_in_time_is_not_timed_out():
    line = Line(a_hub())
    line.login()
    line.session.timed_out()
    assert not line.closed


def test_the_test_feed_tells_of_fakepaca_alone():
    one = a_hub()
    line = Line(one, "test")
    line.login()
    line.say(action="subscribe", bars=["FAKEPACA"], quotes=["FAKEPACA"])
    one.publish([bar("MSFT"), bar("SPY"), {"T": "q", "S": "SPY", "t": AT}])
    assert [(m["T"], m["S"]) for m in line.last] == [("b", "FAKEPACA"), ("q", "FAKEPACA")]


def test_trades_are_made_only_while_somebody_listens():
    asked = []
    one = a_hub(prints=lambda: asked.append(1) or [{"T": "t", "S": "MSFT", "t": AT}])
    line = Line(one)
    line.login()
    line.say(action="subscribe", bars=["MSFT"])
    one.publish([bar()])
    assert asked == []
    line.say(action="subscribe", trades=["MSFT"])
    one.publish([bar()])
    assert (len(asked), [m["T"] for m in line.last]) == (1, ["t", "b"])


def test_a_cut_closes_every_connection():
    one = a_hub()
    lines = [Line(one), Line(one, "sip")]
    for line in lines:
        line.login()
    one.cut()
    assert all(line.closed for line in lines)
    assert Line(one).login()[0]["T"] == "success"
