"""``mqd live``: what is asked before money moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqd.cli import trade
from mqd.errors import UsageError
from mqd.live import trading
from mqd.live.errors import DeskRefused
from mqd.live.folder import account_sha256

SAMPLE = Path(__file__).parents[3] / "live/config/sample_paper.toml"
ACCOUNT = "904837e3-3b76-47ec-b432-046db621571b"


@pytest.fixture
def traded(monkeypatch):
    """Everything before the typed id passes; what would have traded is noted."""
    begun = []
    monkeypatch.setattr(trade, "_admit", lambda _config: None)
    monkeypatch.setattr("mqd.live.tree.changes_of", lambda _folder: "")
    monkeypatch.setattr(trading, "trade", lambda config, **_words: begun.append(config) or "done")
    monkeypatch.setattr(trade, "_told", lambda _traded, *, json: 0)
    return begun


@pytest.fixture
def config(tmp_path):
    text = SAMPLE.read_text()
    for old, new in (
        ('mode = "paper"', 'mode = "live"'),
        ("../limits/", f"{SAMPLE.parents[1]}/limits/"),
        ("0" * 64, account_sha256(ACCOUNT)),
    ):
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "live.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("typed", ["", " ", ACCOUNT[:-1], ACCOUNT.upper(), "yes"])
def test_money_wants_the_accounts_id_typed(config, traded, typed):
    with pytest.raises(DeskRefused, match="typed account id"):
        trade.live(config, account=typed)
    assert traded == []


def test_the_id_itself_lets_it_trade(config, traded):
    assert trade.live(config, account=ACCOUNT) == 0
    assert [one.mode for one in traded] == ["live"]


def test_a_changed_tree_does_not_trade(config, traded, monkeypatch):
    monkeypatch.setattr("mqd.live.tree.changes_of", lambda _folder: "1 file changed")
    with pytest.raises(DeskRefused, match="not clean"):
        trade.live(config, account=ACCOUNT)
    assert traded == []


def test_each_command_takes_its_own_mode(config, traded):
    with pytest.raises(UsageError, match="use mqd live"):
        trade.paper(config)
    with pytest.raises(UsageError, match="use mqd paper"):
        trade.live(SAMPLE, account=ACCOUNT)
    assert traded == []
