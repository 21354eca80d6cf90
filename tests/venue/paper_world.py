"""A venue on this machine and a configuration that names it: what a paper desk needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from mqd.live.folder import account_sha256
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess
from mqd.log_reader import read

ROOT = Path(__file__).parents[2]
MINUTES = ROOT / "datasets/equity_minute.parquet"
LIMITS = """
[account]
notional_usd_max = 60000.0
notional_frac_max = 0.6
position_frac_max = 0.6
concentration_frac_max = 0.6
gross_frac_max = 1.0
net_frac_max = 1.0
orders_min_max = 60
turnover_frac_max = 100.0

[universe]
allow = ["MSFT"]

[sectors]
MSFT = "technology"
"""


def start_venue(folder, pace, end="2022-05-20", **words):
    """Start a venue over minutes of MSFT that runs by itself, ``pace`` times real time."""
    return VenueProcess(
        folder,
        {
            "data": str(MINUTES), "symbols": ["MSFT"], "start": "2022-05-19", "end": end,
            "cash": "100000", "pace": pace, **words,
        },
    )  # fmt: skip


def write_config(folder, venue, **changes):
    """Write keys, limits and a configuration into ``folder`` and return the configuration."""
    keys = folder / "paper.keys"
    keys.write_text(f'key_id = "{venue.key_id}"\nsecret = "{venue.secret}"\n')
    keys.chmod(0o600)
    (folder / "limits.toml").write_text(LIMITS)
    words = {
        "strategy": "sma_cross", "sha": account_sha256(ACCOUNT_ID), "url": venue.url,
        "keys": "paper.keys", "least": 50_000, "most": 200_000, "more": "", "timeframe": "1min",
    } | changes  # fmt: skip
    file = folder / "desk.toml"
    file.write_text(
        """
mode = "paper"
strategy = "{strategy}"
state = "state"
{more}
[parameters]
fast = 3
slow = 8
[universe]
symbols = ["MSFT"]
timeframe = "{timeframe}"
anchor = 2022-05-19
[orders]
sizer = "notional=20000"
limits = "limits.toml"
[account]
endpoint = "{url}"
account_sha256 = "{sha}"
keys_file = "{keys}"
equity_usd_min = {least}
equity_usd_max = {most}
""".format(**words)
    )
    return file


def mqd(*words, cwd=None):
    """Start ``mqd`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mqd", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def said(process, timeout_s=120):
    """Return the exit code, the JSON document on stdout (None without one) and stderr."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, json.loads(out) if out.strip().startswith("{") else None, err


def wait_for(what, seconds=60):
    """Return as soon as ``what()`` is true; fail when it is not in so many seconds."""
    waiting = threading.Event()
    for _ in range(seconds * 20):
        if what():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not happen in time")


def kinds(state):
    """Return the kinds of a desk's records so far, none before it has a log."""
    begun = any((state / "log").glob("*.ndjson"))
    return [record.kind for record in read(state)] if begun else []
