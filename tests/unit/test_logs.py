from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from decimal import Decimal

import pytest

from mqd import logs


@pytest.fixture(autouse=True)
def fresh_logs():
    yield
    logs.configure()


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / logs.FILE_NAME).read_text().splitlines()]


def test_json_lines_carry_run_symbol_and_order_and_the_console_is_short(tmp_path, capsys):
    logs.configure(tmp_path, run_id="r7")
    log = logs.get_logger("execution").bind(symbol="AAPL", order_id="mq1-a")
    log.warning("late_fill", qty=Decimal("1.5"))
    log.info("acknowledged")
    log.debug("not kept")
    first, second = lines_of(tmp_path)
    time_text = first.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{9})?Z", time_text)
    assert first == {
        "level": "warning", "event": "late_fill", "run_id": "r7", "symbol": "AAPL",
        "order_id": "mq1-a", "component": "execution", "qty": "1.5",
    }  # fmt: skip
    assert second["event"] == "acknowledged"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "WARNING late_fill: symbol=AAPL order_id=mq1-a component=execution qty=1.5\n"
    )
    assert stat.S_IMODE((tmp_path / logs.FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("verbosity", "shown", "kept"),
    [(-1, "ce", "cewi"), (0, "cew", "cewi"), (1, "cewi", "cewi"), (2, "cewid", "cewid")],
)
def test_verbosity_sets_what_the_console_shows(tmp_path, capsys, verbosity, shown, kept):
    logs.configure(tmp_path, verbosity=verbosity)
    log = logs.get_logger("x")
    for level in ("critical", "error", "warning", "info", "debug"):
        getattr(log, level)("word")
    err = capsys.readouterr().err.splitlines()
    assert [line[0].lower() for line in err] == list(shown)
    assert [line["level"][0] for line in lines_of(tmp_path)] == list(kept)


def test_text_cannot_break_out_of_its_line(tmp_path, capsys):
    logs.configure(tmp_path)
    logs.get_logger("x").error("bad\nWARNING forged", text="a\r\n{}\x1b[31m\ud800")
    assert len(lines_of(tmp_path)) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_an_exception_is_kept_with_its_traceback(tmp_path, capsys):
    logs.configure(tmp_path)
    try:
        Decimal("x")
    except ArithmeticError:
        logs.get_logger("x").exception("parse_failed")
    (line,) = lines_of(tmp_path)
    assert "InvalidOperation" in line["exception"]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_after_close_lines_go_to_the_console_alone(tmp_path, capsys):
    logs.configure(tmp_path)
    logs.close()
    logs.close()
    logs.get_logger("x").error("after")
    assert lines_of(tmp_path) == []
    assert "after" in capsys.readouterr().err


def test_unconfigured_it_writes_to_stderr_and_import_does_not_load_structlog():
    code = (
        "import sys; import mqd.logs, mqd.event_bus, mqd.transaction_log;"
        "assert 'structlog' not in sys.modules;"
        "mqd.logs.get_logger('x').info('quiet'); mqd.logs.get_logger('x').warning('loud')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "WARNING loud: component=x\n"
