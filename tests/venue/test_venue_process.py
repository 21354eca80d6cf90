"""The venue as a process: its configuration, its greeting, its end, its pace."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from mqd.venue.process import main
from tests.venue.venue_bench import ACCOUNT, HEADERS, KEY, SECRET, bars_by_hand, http

TOKEN = {"X-Control-Token": "control"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("venue") / "bars.parquet"
    frame = bars_by_hand().to_pandas().drop(columns="ts_close")
    frame.to_parquet(file)
    return file


def words_of(data, **more):
    return {
        "data": str(data), "symbols": ["AAA"], "cash": "100000", "multiplier": 2,
        "costs": {"slippage_bps": 0.0}, "fills": {"participation_frac": 0.1}, "pace": "step",
        "accounts": [{"id": ACCOUNT, "number": "PA1", "keys": [[KEY, SECRET]]}],
        "control_token": "control", "faults": None, "port": 0, **more,
    }  # fmt: skip


def write(folder, words, mode=0o600):
    file = folder / "venue.json"
    file.write_text(json.dumps(words), encoding="utf-8")
    file.chmod(mode)
    return file


def start(file):
    return subprocess.Popen(
        [sys.executable, "-m", "mqd.venue", "--config", str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def greeting(process):
    line = process.stdout.readline()
    assert line, process.stderr.read().decode()
    return json.loads(line)


def end(process):
    process.stdin.close()
    code = process.wait(20)
    said = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    return code, said


@pytest.fixture
def running(data, tmp_path):
    process = start(write(tmp_path, words_of(data)))
    hello = greeting(process)
    assert hello["pid"] == process.pid
    yield process, hello["port"]
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_a_session_is_walked_over_the_control_path(running):
    process, port = running
    with http(port) as client:
        steps = 0
        while True:
            begun = client.post("/_control/begin", headers=TOKEN).json()
            if begun["done"]:
                break
            assert begun["opens_ns"] < begun["ts_close"]
            for phase in ("open", "within"):
                told = client.post(f"/_control/{phase}", headers=TOKEN).json()
                assert set(told) == {"updates", "activities"}
            closed = client.post("/_control/close", headers=TOKEN).json()
            steps += 1
            assert closed["bars"] == steps
            assert closed["ends_session"] is (steps % 5 == 0)
        assert steps == 15
        state = client.get("/_control/state", headers=TOKEN).json()
        assert (state["step"], state["n_steps"], state["open_orders"]) == (14, 15, 0)
        assert client.get("/v2/account").json()["cash"] == "100000"
    assert end(process) == (0, "")


def test_the_control_path_needs_its_token_and_its_turn(running):
    _, port = running
    with http(port) as client:
        assert client.get("/_control/state").status_code == 401
        assert client.post("/_control/begin", headers=HEADERS).status_code == 401
        early = client.post("/_control/within", headers=TOKEN)
        assert early.status_code == 409
        assert "within" in early.json()["message"]
        assert client.post("/_control/begin", headers=TOKEN).status_code == 200
        assert client.post("/_control/begin", headers=TOKEN).status_code == 409
        assert client.post("/_control/jump", headers=TOKEN).status_code == 404


def test_it_ends_on_sigterm_and_listens_on_loopback_alone(running):
    process, port = running
    local = subprocess.run(
        ["cat", f"/proc/{process.pid}/net/tcp"], capture_output=True, text=True, check=True
    ).stdout
    assert f"0100007F:{port:04X}" in local
    assert f"00000000:{port:04X}" not in local
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)


def test_it_walks_its_steps_by_itself_at_a_factor(data, tmp_path):
    frame = pd.read_parquet(data)
    first = frame[(frame["symbol"] == "AAA")].head(3)
    short = tmp_path / "short.parquet"
    first.to_parquet(short)
    process = start(write(tmp_path, words_of(short, pace=600, timeframe="1min")))
    port = greeting(process)["port"]
    with http(port) as client:
        assert client.post("/_control/begin", headers=TOKEN).status_code == 409
        until = time.monotonic() + 20
        while client.get("/_control/state", headers=TOKEN).json()["bars"] < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        state = client.get("/_control/state", headers=TOKEN).json()
        assert state["step"] == 2
        first_ns = client.get("/_control/state", headers=TOKEN).json()["now_ns"]
        time.sleep(0.6)
        later_ns = client.get("/_control/state", headers=TOKEN).json()["now_ns"]
        assert later_ns - first_ns > 60 * 10**9
    assert end(process)[0] == 0


WRONG = {
    "an unknown word": ({"colour": "red"}, "colour is unknown"),
    "a wrong pace": ({"pace": "fast"}, "pace is 'fast'"),
    "no accounts": ({"accounts": []}, "accounts names none"),
    "malformed accounts": ({"accounts": [{"id": "x"}]}, "accounts must be a list"),
    "an unknown cost": ({"costs": {"tax": 1}}, "costs cannot be read"),
    "a wrong port": ({"port": -1}, "port is -1"),
    "a wrong rule": ({"buying_power": "lend"}, "buying_power is 'lend'"),
    "an unknown fault": ({"faults": {"faults": [{"name": "gremlin"}]}}, "no fault 'gremlin'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_refused_with_a_sentence(name, data, tmp_path, capsys):
    more, sentence = WRONG[name]
    code = main(["--config", str(write(tmp_path, words_of(data, **more)))])
    said = capsys.readouterr().err
    assert code == 2
    assert sentence in said
    assert SECRET not in said


def test_a_process_that_cannot_start_says_why_and_ends(data, tmp_path):
    code, said = end(start(write(tmp_path, words_of(data, colour="red"))))
    assert (code, "Traceback" in said) == (2, False)
    assert "colour is unknown" in said


def test_a_configuration_that_others_can_read_is_refused(data, tmp_path, capsys):
    words = words_of(data, pace="fast")  # wrong as well, but that is not said to everybody
    assert main(["--config", str(write(tmp_path, words, mode=0o644))]) == 2
    assert "can be read by others" in capsys.readouterr().err


def test_a_link_a_missing_file_or_no_file_is_refused(data, tmp_path, capsys):
    link = tmp_path / "link.json"
    link.symlink_to(write(tmp_path, words_of(data)))
    for words, sentence in (
        (["--config", str(link)], "no plain file"),
        (["--config", str(tmp_path / "absent.json")], "cannot be read"),
        ([], "usage:"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err
