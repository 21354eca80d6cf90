"""Keys: who may read them, and a canary that nothing shows."""

import copy
import inspect
import io
import json
import logging
import os
import pickle
import pprint
import sys
import traceback
from pathlib import Path

import pytest
import stamina

from mqd.adapters.alpaca import binding, budget, keys, news, order_map, reader, reports
from mqd.adapters.alpaca import session as session_module
from mqd.adapters.alpaca.binding import bind
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.errors import BindingRefused, KeysRefused
from mqd.adapters.alpaca.keys import Keys, Secret, read_keys
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import SimulatedClock, WallClock
from mqd.errors import MqdError
from tests.unit.adapters.alpaca_bench import (
    KEY,
    QUANTUM,
    SCALES,
    SECRET,
    answer,
    http_session,
    order,
    scripted,
)

TESTS = frozenset(
    {
        "errors_of", "test_a_file_that_does_not_say_both_is_refused_and_shows_nothing",
        "test_an_error_from_deep_inside_a_call_brings_no_frame_that_holds_the_keys",
    }
)  # fmt: skip
"""Functions of this file whose own locals hold the keys."""
GOOD = f'key_id = "{KEY}"\nsecret = "{SECRET}"\n'


def hidden(text):
    """Return True when neither key stands in a text, plain or escaped."""
    return SECRET not in text and KEY not in text


def with_locals(error):
    """Return an error with all that led to it, and the locals of every frame but this test's."""
    out, seen, left = [], set(), [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        told = traceback.TracebackException.from_exception(one, capture_locals=True)
        out += [*told.format_exception_only(), repr(one)]
        out += [f"{at.name} {at.locals}" for at in told.stack if at.name not in TESTS]
        left += [one.__cause__, one.__context__]
    return "".join(out)


# --- the file and the environment ----------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path):
    """Return a function that writes a key file with a text and a mode."""

    def write(text=GOOD, mode=0o600, name="keys.toml"):
        file = tmp_path / name
        file.write_text(text)
        file.chmod(mode)
        return file

    return write


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(key_file, mode):
    found = read_keys(key_file(mode=mode))
    assert (found.key_id.reveal(), found.secret.reveal()) == (KEY, SECRET)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o777])
def test_a_file_that_others_can_touch_is_refused(key_file, mode):
    with pytest.raises(KeysRefused, match=rf"mode is {mode:04o}.*chmod 600"):
        read_keys(key_file(mode=mode))


def test_a_link_is_refused_as_is_what_is_no_file(key_file, tmp_path):
    link = tmp_path / "link.toml"
    link.symlink_to(key_file())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for file in (link, pipe, tmp_path, tmp_path / "absent"):
        with pytest.raises(KeysRefused, match=str(file)):
            read_keys(file)


def test_a_file_of_another_owner_is_refused(key_file, monkeypatch):
    file = key_file()
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(KeysRefused, match=f"owner is user {mine}, not us"):
        read_keys(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "key_id is missing"), (f'secret = "{SECRET}"', "key_id is missing"),
        (f'key_id = "{KEY}"', "secret is missing"),
        (f'key_id = "{KEY}"\nsecret = ""', "secret is missing"),
        (f'key_id = "{KEY}"\nsecret = 5', "secret is missing"),
        (f"{KEY} {SECRET}", "no TOML"), (f'key_id = "{KEY}\nsecret = "{SECRET}"', "no TOML"),
        ("\x00\xff", "no TOML"), ("[" * 90_000, "no TOML"),
        (f'key_id = "{KEY}"\nsecret = "{SECRET}\\nX-Other: 1"', "secret holds other signs"),
        (f'key_id = "{KEY}\u200b"\nsecret = "{SECRET}"', "key_id holds other signs"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_say_both_is_refused_and_shows_nothing(key_file, text, why):
    file = key_file(text)
    with pytest.raises(KeysRefused, match=why) as refused:
        read_keys(file)
    assert hidden(with_locals(refused.value))


def test_the_environment_is_read_once(monkeypatch):
    monkeypatch.setenv("A_KEY", f" {KEY} ")
    monkeypatch.setenv("A_SECRET", SECRET)
    found = read_keys(environment=("A_KEY", "A_SECRET"))
    assert (found.key_id.reveal(), found.secret.reveal()) == (KEY, SECRET)
    assert "A_KEY" not in os.environ
    assert "A_SECRET" not in os.environ
    monkeypatch.setenv("A_SECRET", SECRET)
    with pytest.raises(KeysRefused, match="A_KEY is not set") as refused:
        read_keys(environment=("A_KEY", "A_SECRET"))
    assert hidden(with_locals(refused.value))
    assert "A_SECRET" not in os.environ
    with pytest.raises(KeysRefused, match="nowhere"):
        read_keys()


# --- a secret ------------------------------------------------------------------------------------


def test_a_secret_shows_itself_by_reveal_alone():
    secret = Secret(SECRET)
    shown = [
        repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{secret:>20}",
        f"{secret}", repr([secret]), pprint.pformat({"a": secret}),
        json.dumps({"a": secret}, default=str), repr(Keys(secret, secret)), str(hash(secret)),
    ]  # fmt: skip
    assert all("***" in one or one.lstrip("-").isdigit() for one in shown)
    assert all(hidden(one) for one in shown)
    assert secret.reveal() == SECRET
    assert secret == Secret(SECRET) != Secret("other")
    assert secret != SECRET
    assert copy.deepcopy(secret) is copy.copy(secret) is secret


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_that_holds_a_secret_is_pickled(protocol):
    session = http_session("http://127.0.0.1:1")
    connector = AlpacaBrokerConnector(session, SCALES, SimulatedClock(), QUANTUM)
    holders = (Secret(SECRET), Keys(Secret(KEY), Secret(SECRET)), session, connector)
    for one in holders:
        with pytest.raises(TypeError):
            pickle.dumps(one, protocol)
    for one in (session, connector):
        with pytest.raises(TypeError):
            copy.deepcopy(one)
    with pytest.raises(TypeError):
        Secret(SECRET).__getstate__()
    with pytest.raises(TypeError):
        json.dumps(Secret(SECRET))
    session.close()


# --- the canary ----------------------------------------------------------------------------------

MODULES = (binding, budget, keys, news, order_map, reader, reports, session_module)
ACCOUNT = {"id": "account", "currency": "USD", "status": "INACTIVE", "equity": "1"}


@pytest.fixture
def records():
    """Log everything there is, at DEBUG, into a list of texts; put the levels back after."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s %(exc_info)s"))
    root, before = logging.getLogger(), {}
    root.addHandler(handler)

    def open_all():
        for name in ("", *logging.Logger.manager.loggerDict):
            logger = logging.getLogger(name)
            before.setdefault(name, (logger.level, logger.disabled))
            logger.setLevel(logging.DEBUG)
            logger.disabled = False
        return lines

    yield open_all
    root.removeHandler(handler)
    for name, (level, disabled) in before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).disabled = disabled


def every_object(root):
    """Return all objects of the package that can be reached from one through attributes."""
    found, left = [], [root]
    while left:
        one = left.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        inner = list(vars(one).values()) if hasattr(one, "__dict__") else []
        inner += [getattr(one, name, None) for name in getattr(type(one), "__slots__", ())]
        ours = (type(part).__module__.startswith("mqd.adapters") for part in inner)
        left += [part for part, own in zip(inner, ours, strict=True) if own]
    return found


def echoing(handler):
    """Answer with what was asked, as a page of errors for developers may."""
    if "/v2/account" in handler.path:
        answer(handler, 200, ACCOUNT)
    elif handler.command == "GET":
        answer(handler, 401, str(handler.headers).encode())
    else:
        answer(handler, 403, {"code": 40310000, "message": f"headers: {dict(handler.headers)}"})


def errors_of(session, connector):
    """Make calls that fail, in every way, and return their errors."""
    calls = (
        lambda: bind(session, mode="rehearsal", key_id=session.key_id, account_sha256="0" * 64,
                     equity_usd=None, clock=WallClock()),
        lambda: session.ask("/v2/clock"), connector.positions, connector.cancel_everything,
        connector.account,
    )  # fmt: skip
    for call in calls:
        with pytest.raises(MqdError) as failed:
            call()
        yield failed.value


def test_the_canary_is_in_no_record_object_error_or_process_table(records, capfd):
    lines = records()
    texts = []
    with scripted(echoing) as (url, asked), stamina.set_testing(True, attempts=2):
        session = http_session(url)
        connector = AlpacaBrokerConnector(session, SCALES, SimulatedClock(), QUANTUM)
        records()  # those loggers too that the session has quietened
        connector.submit(order())
        texts += [with_locals(error) for error in errors_of(session, connector)]
        texts += [repr(report) for report in connector.reports()]
    session.close()
    texts += [with_locals(error) for error in errors_of(session, connector)]  # nobody listens now
    assert "ConnectionError" in texts[-1]
    for one in every_object(connector):
        texts += [repr(one), str(one), f"{one}", pprint.pformat(one)]
        if hasattr(one, "__dict__"):
            texts.append(repr(vars(one)))
    texts.append(repr(vars(session._client)))
    texts += [repr(vars(module)) for module in MODULES]
    session.close()
    texts.append(lines.getvalue())
    texts += [Path(f"/proc/self/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
    texts += list(capfd.readouterr())
    assert sum(SECRET in str(headers) for _, _, headers, _ in asked) >= 5  # the calls were signed
    assert "urllib3.connectionpool" in lines.getvalue()  # and logging was open
    assert all(map(hidden, texts))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ValueError("odd")])
def test_an_error_from_deep_inside_a_call_brings_no_frame_that_holds_the_keys(monkeypatch, error):
    session = http_session("http://127.0.0.1:1")
    deep = []

    def fail(_adapter, request, **_):
        headers = dict(request.headers)
        deep.append(headers)
        error.__context__ = OSError(str(headers))
        raise error

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", fail)
    with pytest.raises(type(error)) as failed:
        session.send("GET", "/v2/account")
    assert deep[0]["APCA-API-SECRET-KEY"] == SECRET
    assert hidden(with_locals(failed.value))
    session.close()


def test_reveal_is_called_in_the_few_places_that_send_keys():
    users = {
        name
        for name, module in sys.modules.items()
        if name.startswith("mqd.adapters.alpaca") and ".reveal()" in inspect.getsource(module)
    }
    sending = {"session", "binding", "history", "socket_link", "streams", "stream_state"}
    assert users <= {f"mqd.adapters.alpaca.{name}" for name in sending}
    assert isinstance(AlpacaSession.__reduce__, object)


def test_a_refused_binding_shows_no_key():
    session = http_session("http://127.0.0.1:1")
    with pytest.raises(BindingRefused) as refused:
        bind(session, mode="live", key_id=session.key_id, account_sha256="", equity_usd=None,
             clock=WallClock())  # fmt: skip
    assert hidden(with_locals(refused.value))
    session.close()
