"""A venue on this machine, and a configuration of a desk that trades there: what is measured.

Real minutes of MSFT on a venue process that runs ``pace`` times real time; the desk is the one of
``mqd paper``. Everything lies in one temporary folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mqd.live.folder import account_sha256
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "bench/live_rules.py"
MINUTES = ROOT / "datasets/equity_minute.parquet"
DAY, NEXT_DAY = "2022-05-19", "2022-05-20"

_LIMITS = """
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
_CONFIG = """
mode = "paper"
strategy = "{rules}:Flip"
state = "state"
[universe]
symbols = ["MSFT"]
timeframe = "1min"
anchor = {day}
[orders]
sizer = "notional=20000"
limits = "limits.toml"
[account]
endpoint = "{url}"
account_sha256 = "{sha}"
keys_file = "paper.keys"
equity_usd_min = 50000
equity_usd_max = 200000
"""


@contextmanager
def started_venue(folder: Path, pace: float) -> Iterator[VenueProcess]:
    """Yield a venue that replays one day of minutes, ``pace`` times real time."""
    words = {
        "data": str(MINUTES), "symbols": ["MSFT"], "start": DAY, "end": NEXT_DAY,
        "cash": "100000", "pace": pace,
    }  # fmt: skip
    with VenueProcess(folder, words) as venue:
        yield venue


def write_config(folder: Path, venue: VenueProcess) -> Path:
    """Write keys, limits and a configuration into ``folder`` and return the configuration."""
    keys = folder / "paper.keys"
    keys.write_text(f'key_id = "{venue.key_id}"\nsecret = "{venue.secret}"\n', encoding="utf-8")
    keys.chmod(0o600)
    (folder / "limits.toml").write_text(_LIMITS, encoding="utf-8")
    file = folder / "desk.toml"
    words = {"day": DAY, "url": venue.url, "sha": account_sha256(ACCOUNT_ID), "rules": RULES}
    file.write_text(_CONFIG.format(**words), encoding="utf-8")
    return file
