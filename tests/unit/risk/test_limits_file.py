"""Limits files: tables, tightest wins, every slip refused with its line, only tightening."""

import pytest

from mqd.errors import BadLimits, UsageError
from mqd.risk import Limits

GOOD = """\
[account]
notional_usd_max = 20000      # whole numbers are numbers
position_frac_max = 0.2

[platform]
position_frac_max = 0.15

[strategy.sma_cross]
notional_usd_max = 5000.0

[symbol.AAPL]
notional_usd_max = 9000.0
position_frac_max = 0.05

[universe]
allow = ["AAPL", "IBM"]
deny = ["GME"]

[sectors]
AAPL = "technology"
"""


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "limits.toml"
        path.write_text(text)
        return str(path)

    return make


def test_of_platform_account_strategy_and_symbol_the_tightest_wins(write):
    limits = Limits.from_toml(write(GOOD))
    both = limits.values("sma_cross", "AAPL")
    assert (both.notional_usd_max, both.position_frac_max) == (5_000.0, 0.05)
    other = limits.values("other", "IBM")
    assert (other.notional_usd_max, other.position_frac_max) == (20_000.0, 0.15)
    assert other.drawdown_frac_max == 0.10
    assert limits.is_allowed("IBM")
    assert not limits.is_allowed("MSFT")
    assert limits.deny == {"GME"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[account]\nnotional_usd_mx = 1", 2, "Did you mean 'notional_usd_max'"),
        ("[account]\nnotional_eur_max = 1", 2, "unknown limit"),
        ("[acount]\nqty_max = 1", 1, "Did you mean 'account'"),
        ("[account]\nqty_max = 5\ngross_frac_max = -1.0", 3, "negative"),
        ("[account]\n\ndaily_loss_frac_max = 2", 3, "0.05 is one twentieth"),
        ("[account]\nposition_frac_max = 5", 2, "0.05 is one twentieth"),
        ('[account]\nposition_frac_max = "5%"', 2, "must be a plain number in fractions"),
        ("[account]\nqty_max = true", 2, "must be a plain number in shares"),
        ("[account]\nqty_max = nan", 2, "binds nothing or everything"),
        ("[account]\nqty_max = inf", 2, "binds nothing or everything"),
        ("[account]\nref_age_ns_max = 1e20", 2, "more than 30 days"),
        ("[account]\nmultiplier_max = 0", 2, "not in (0, 4.0]"),
        ("[symbol.AAPL]\nqty_max = 5\n[symbol.IBM]\nqty_max = -5", 4, "negative"),
        ("[universe]\nallow = []", 2, "the universe is empty"),
        ('[universe]\nalow = ["A"]', 2, "Did you mean 'allow'"),
        ('[universe]\nallow = "AAPL"', 2, "must be a list"),
        ("[sectors]\nAAPL = 3", 2, "must name a sector"),
        ("account = 5", 1, "write [account]"),
        ("[account]\nqty_max = = 5", 2, "no TOML"),
    ],
)
def test_a_slip_is_refused_with_its_line(write, text, line, words):
    with pytest.raises(BadLimits) as caught:
        Limits.from_toml(write(text))
    assert caught.value.line == line
    assert words in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadLimits, match="cannot be read"):
        Limits.from_toml(str(tmp_path / "none.toml"))


def test_equal_effect_has_an_equal_hash_and_any_change_another(write):
    one = Limits.from_toml(write(GOOD))
    other = Limits.from_toml(write(GOOD.replace("20000 ", "20000.0")))
    assert one.sha256 == other.sha256
    changed = Limits.from_toml(write(GOOD.replace("0.05", "0.06")))
    assert changed.sha256 != one.sha256
    assert one.sha256[:16] in str(one)
    assert "symbol.AAPL.position_frac_max = 0.05" in str(one)


@pytest.mark.parametrize(
    ("old", "new", "looser"),
    [
        ("20000", "20001", "notional_usd_max"),
        ("0.05", "0.06", "symbol.AAPL.position_frac_max"),
        ("5000.0", "5001.0", "strategy.sma_cross.notional_usd_max"),
        ('"AAPL", "IBM"', '"AAPL", "IBM", "MSFT"', "universe.allow"),
        ('["GME"]', "[]", "universe.deny"),
    ],
)
def test_a_change_that_loosens_is_named(write, old, new, looser):
    now = Limits.from_toml(write(GOOD))
    with pytest.raises(UsageError, match=looser):
        now.tightened(Limits.from_toml(write(GOOD.replace(old, new, 1))))


def test_a_change_that_tightens_binds(write):
    now = Limits.from_toml(write(GOOD))
    tighter = Limits.from_toml(write(GOOD.replace("20000", "19999")))
    assert now.tightened(tighter) is tighter
    with pytest.raises(UsageError, match="research"):
        now.tightened(Limits.research())


def test_a_minimum_tightens_upwards():
    default = Limits.default()
    higher = Limits(account=default.account._replace(same_order_age_ns_min=2e9))
    assert default.tightened(higher) is higher
    with pytest.raises(UsageError, match="same_order_age_ns_min"):
        higher.tightened(default)
