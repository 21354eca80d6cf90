"""Binding: mode, endpoint, key, account, flags, equity, clock; each slip is one sentence."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import stamina

from mqd.adapters.alpaca import session as session_module
from mqd.adapters.alpaca.binding import BLOCKS, ENDPOINTS, bind
from mqd.adapters.alpaca.errors import BindingRefused
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import NS_PER_S, WallClock
from mqd.live.config import ENDPOINTS as CONFIGURED
from mqd.live.folder import account_sha256
from tests.unit.adapters.alpaca_bench import SECRET, answer, scripted

ID = "904837e3-3b76-47ec-b432-046db621571b"
PINNED = hashlib.sha256(ID.encode()).hexdigest()
NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
ACCOUNT = {
    "id": ID, "account_number": "PA3", "status": "ACTIVE", "currency": "USD", "equity": "100000.5",
    "trading_blocked": False, "transfers_blocked": False, "account_blocked": False,
    "trade_suspended_by_user": False,
}  # fmt: skip
BAND = (Decimal(80_000), Decimal(200_000))


class At:
    """A clock that stands at ``NOW``, moved by ``per_call`` each time it is read."""

    def __init__(self, per_call=timedelta()):
        self._at, self._per_call = NOW, per_call

    def now_ns(self):
        at, self._at = self._at, self._at + self._per_call
        return int(at.timestamp()) * NS_PER_S + at.microsecond * 1000

    monotonic_ns = now_ns


class Now:
    """The venue's clock, which agrees with ours."""

    def __init__(self, ours):
        self._ours = ours

    def told(self):
        return {"timestamp": self._ours._at.isoformat()}


class Desk:
    """A venue's answers, and what is bound against them."""

    def __init__(self, mode="paper", **changes):
        self.account, self.clock = dict(ACCOUNT), {"timestamp": "2026-11-23T10:30:00-05:00"}
        self.words = {
            "mode": mode, "account_sha256": PINNED, "equity_usd": BAND, "clock": At(),
            "key": "AKLIVE" if mode == "live" else "PKPAPER",
            "url": ENDPOINTS.get(mode, "http://127.0.0.1:4000"),
        } | changes  # fmt: skip
        self.asked = []
        self.status = 200

    def __call__(self, method, path, query, body, headers):
        self.asked.append((method, path))
        clock = self.clock.told() if isinstance(self.clock, Now) else self.clock
        said = {"/v2/account": self.account, "/v2/clock": clock}[path]
        return self.status, said if isinstance(said, str) else json.dumps(said), {}

    def bind(self):
        words = dict(self.words)
        key = Secret(words.pop("key"))
        session = AlpacaSession(
            words.pop("url"), Keys(words.pop("signed", key), Secret(SECRET)), WallClock(),
            transport=self,
        )  # fmt: skip
        with stamina.set_testing(True, attempts=2):
            return bind(session, key_id=key, **words)

    def refusal(self):
        with pytest.raises(BindingRefused) as refused:
            self.bind()
        text = str(refused.value)
        assert text.startswith("This account is not bound: ")
        assert text.endswith(". No order is sent.")
        assert SECRET not in text
        return text


@pytest.mark.parametrize("mode", ["paper", "live", "rehearsal"])
def test_what_belongs_together_is_bound(mode):
    desk = Desk(mode)
    found = desk.bind()
    assert (found.account_id_sha256, found.equity, found.status) == (
        PINNED, Decimal("100000.5"), "ACTIVE"
    )  # fmt: skip
    asked = {("GET", "/v2/account")} | ({("GET", "/v2/clock")} if mode != "rehearsal" else set())
    assert set(desk.asked) == asked
    assert (
        repr(found)
        == f"Bound(account_id_sha256={PINNED!r}, equity=Decimal('100000.5'), status='ACTIVE')"
    )


def test_the_hash_and_the_endpoints_are_those_of_the_live_desk():
    assert account_sha256(f" {ID}\n") == PINNED
    assert dict(ENDPOINTS) == dict(CONFIGURED)


@pytest.mark.parametrize(
    ("mode", "url", "why"),
    [
        ("paper", "https://api.alpaca.markets", "is not that of paper trading"),
        ("live", "https://paper-api.alpaca.markets", "is not that of live trading"),
        ("paper", "http://127.0.0.1:4000", "is this machine: that is for a rehearsal"),
        ("live", "http://localhost:4000", "is this machine: that is for a rehearsal"),
        ("paper", "http://paper-api.alpaca.markets", "is unknown"),
        ("paper", "https://paper-api.alpaca.markets:8443", "is unknown"),
        ("paper", "https://paper-api.alpaca.markets.example.com", "is unknown"),
        ("paper", "https://me@paper-api.alpaca.markets", "is unknown"),
        ("paper", "https://PAPER-API.alpaca.markets", "is unknown"),
        ("rehearsal", "https://paper-api.alpaca.markets", "is not this machine"),
        ("rehearsal", "http://127.0.0.1.example.com:80", "is not this machine"),
        ("rehearsal", "http://10.0.0.1:4000", "is not this machine"),
        ("demo", "http://127.0.0.1:4000", "the mode 'demo' is unknown"),
    ],
)
def test_mode_and_endpoint_must_agree(mode, url, why):
    desk = Desk(mode, url=url)
    assert why in desk.refusal()
    assert desk.asked == []


@pytest.mark.parametrize(
    ("mode", "key"),
    [("paper", "AKLIVE"), ("live", "PKPAPER"), ("rehearsal", "AKLIVE"), ("paper", "pkpaper"),
     ("live", "CKBROKER"), ("paper", "xPK")],
)  # fmt: skip
def test_keys_of_another_mode_are_refused_before_anything_is_asked(mode, key):
    desk = Desk(mode, key=key)
    text = desk.refusal()
    assert f"no key for {mode} trading" in text
    assert key not in text.replace("PK (", "")
    assert desk.asked == []


def test_the_key_that_is_checked_is_the_key_that_signs():
    desk = Desk("paper", signed=Secret("AKLIVE"))
    assert "not the one that the session signs with" in desk.refusal()


@pytest.mark.parametrize("pinned", ["", "abc", "0" * 63, "z" * 64])
def test_an_account_must_be_pinned(pinned):
    assert "no account is pinned" in Desk(account_sha256=pinned).refusal()


def test_another_account_is_refused():
    text = Desk(account_sha256="0" * 64).refusal()
    assert "another account" in text
    assert PINNED[:12] in text
    assert ID not in text
    assert Desk(account_sha256=f" {PINNED.upper()}\n").bind().status == "ACTIVE"


@pytest.mark.parametrize("flag", BLOCKS)
@pytest.mark.parametrize("value", [True, None, "false", 0, "absent"])
def test_a_flag_that_is_set_or_strange_or_missing_refuses(flag, value):
    desk = Desk()
    desk.account[flag] = value
    if value == "absent":
        del desk.account[flag]
    assert flag in desk.refusal()


@pytest.mark.parametrize("status", ["INACTIVE", "ACCOUNT_UPDATED", "SUBMITTED", "active", None])
def test_an_account_that_is_not_active_is_refused(status):
    desk = Desk()
    desk.account["status"] = status
    assert "not 'ACTIVE'" in desk.refusal()


@pytest.mark.parametrize(
    ("equity", "why"),
    [
        ("79999.99", "outside the band of 80000 to 200000"), ("200000.01", "outside the band"),
        ("0", "nothing to trade"), ("-5", "nothing to trade"), ("NaN", "no amount"),
        ("Infinity", "no amount"), ("", "no amount"), ("much", "no amount"), (None, "no amount"),
        (True, "no amount"), ([], "no amount"), ("-Infinity", "no amount"), ("sNaN", "no amount"),
    ],
)  # fmt: skip
def test_equity_is_an_amount_in_its_band(equity, why):
    desk = Desk()
    desk.account["equity"] = equity
    assert why in desk.refusal()


@pytest.mark.parametrize("equity", ["80000", "200000", 100_000])
def test_the_band_has_its_ends(equity):
    desk = Desk()
    desk.account["equity"] = equity
    assert desk.bind().equity == Decimal(equity)


def test_only_a_rehearsal_goes_without_a_band():
    assert Desk("rehearsal", equity_usd=None).bind().equity == Decimal("100000.5")
    for mode in ("paper", "live"):
        assert "needs a band of equity" in Desk(mode, equity_usd=None).refusal()


@pytest.mark.parametrize("currency", ["EUR", None, ""])
def test_only_dollars_are_handled(currency):
    desk = Desk()
    desk.account["currency"] = currency
    assert "only USD is handled" in desk.refusal()


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "skew"),
    [
        ("2026-11-23T10:30:10-05:00", "10.0 s"), ("2026-11-23T10:29:50-05:00", "10.0 s"),
        ("2026-11-23T15:30:02.000000001Z", "2.0 s"), ("2026-11-23T10:30:00Z", "18000.0 s"),
    ],
)  # fmt: skip
def test_a_clock_that_is_off_is_refused_either_way(stamp, skew):
    desk = Desk()
    desk.clock["timestamp"] = stamp
    assert f"differ by {skew}" in desk.refusal()
    desk.words |= {"mode": "rehearsal", "url": "http://127.0.0.1:4000"}
    assert desk.bind().status == "ACTIVE"  # simulated time is another


@pytest.mark.parametrize("stamp", ["2026-11-23T15:30:02Z", "2026-11-23T15:29:58.000000000Z"])
def test_two_seconds_are_allowed(stamp):
    desk = Desk()
    desk.clock["timestamp"] = stamp
    assert desk.bind().status == "ACTIVE"


def test_a_slow_answer_is_asked_for_again_and_then_refused():
    ours = At(timedelta(seconds=3))
    slow = Desk(clock=ours)
    slow.clock = Now(ours)
    assert "too slow to trade on" in slow.refusal()
    assert slow.asked.count(("GET", "/v2/clock")) == 3
    desk = Desk(clock=At(timedelta(seconds=1)))
    assert desk.bind().status == "ACTIVE"
    assert desk.asked.count(("GET", "/v2/clock")) == 1


@pytest.mark.parametrize("said", [{}, {"timestamp": None}, {"timestamp": "noon"}, [], "<html>", ""])
def test_a_clock_that_cannot_be_read_is_refused(said):
    desk = Desk()
    desk.clock = said
    assert desk.refusal()


# --- venues that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("<html>welcome</html>", "with no JSON"), ("", "with nothing"), ("[]", "holds no id"),
        ("{}", "holds no id"), ('{"id": 7}', "holds no id"), ('"ok"', "holds no id"),
        ('{"id": ""}', "holds no id"), ("null", "with no JSON"),
    ],
)  # fmt: skip
def test_a_venue_that_lies_is_refused(said, why):
    desk = Desk()
    desk.account = said
    text = desk.refusal()
    assert why in text
    assert "Alpaca's" in text


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "the keys are wrong, revoked, or of another mode"), (403, "the keys are wrong"),
        (404, "not version 2 of Alpaca's trading interface"), (301, "with 301"),
        (422, "with 422"), (429, "did not answer GET /v2/account: HTTP 429"),
        (503, "did not answer GET /v2/account: HTTP 503"),
    ],
)  # fmt: skip
def test_a_venue_that_refuses_is_a_sentence(status, why):
    desk = Desk()
    desk.status = status
    assert why in desk.refusal()


def test_a_venue_that_is_down_slow_or_in_html_is_a_sentence_over_http(monkeypatch):
    monkeypatch.setattr(session_module, "TIMEOUT_S", (0.1, 0.1))
    reached = []

    def slow(handler):
        reached.append(handler.path)
        if len(reached) > 1:
            answer(handler, 200, b"<html>maintenance</html>")

    key = Secret("PKPAPER")
    words = {
        "mode": "rehearsal", "key_id": key, "account_sha256": PINNED, "equity_usd": None,
        "clock": WallClock(),
    }  # fmt: skip
    with scripted(slow) as (url, _), stamina.set_testing(True, attempts=1):
        session = AlpacaSession(url, Keys(key, Secret(SECRET)), WallClock())
        with pytest.raises(BindingRefused, match=r"the venue did not answer .*ReadTimeout"):
            bind(session, **words)
        with pytest.raises(BindingRefused, match="with no JSON"):
            bind(session, **words)
        session.close()
        session = AlpacaSession(url, Keys(key, Secret(SECRET)), WallClock())
    with stamina.set_testing(True, attempts=1), pytest.raises(BindingRefused, match="Connection"):
        bind(session, **words)
    session.close()


def test_everything_is_checked_again():
    desk = Desk()
    bound = desk.bind()
    n_asked = len(desk.asked)
    again = bound.recheck()
    assert again == bound
    assert len(desk.asked) == 2 * n_asked
    desk.account["account_blocked"] = True
    for one in (bound, again):
        with pytest.raises(BindingRefused, match="account_blocked"):
            one.recheck()
    desk.account = {**ACCOUNT, "id": "another"}
    with pytest.raises(BindingRefused, match="another account"):
        bound.recheck()
