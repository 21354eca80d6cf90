"""`live/config/*.toml`: whatever could be a slip is refused, with file and line."""

import re
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.errors import BadLimits, ConfigError
from mqd.live.config import ENDPOINTS, _Reader, read_config
from mqd.live.errors import BadLiveConfig
from mqd.live.toml_file import TomlFile
from mqd.portfolio.sizing import FixedNotional

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "live/config/sample_paper.toml"
TEXT = SAMPLE.read_text()


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a changed sample and reads it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "limits").mkdir()
    limits = ROOT / "live/limits/sample_paper_limits.toml"
    (tmp_path / "limits/sample_paper_limits.toml").write_text(limits.read_text())

    def read(*changes, **words):
        text = TEXT
        for old, new in changes:
            assert len(re.findall(old, text, re.MULTILINE)) == 1, old
            text = re.sub(old, new, text, flags=re.MULTILINE)
        file = tmp_path / "config/desk.toml"
        file.write_text(text)
        return read_config(file, **words)

    return read


def line_of(old):
    """Return the line of the sample on which ``old`` begins."""
    return TEXT[: re.search(old, TEXT, re.MULTILINE).start()].count("\n") + 1


def test_the_sample_says_what_it_says():
    found = read_config(SAMPLE)
    assert (found.mode, found.strategy, found.allocation) == ("paper", "sma_cross", 1.0)
    assert found.parameters == {"fast": 20, "slow": 50}
    assert (found.symbols, found.timeframe, found.calendar) == (("AAPL",), "1day", "XNYS")
    steps = Decimal("0.0001"), Decimal(1)
    assert (found.tick, found.lot, found.anchor) == (*steps, date(2024, 1, 2))
    assert found.endpoint == "https://paper-api.alpaca.markets"
    assert found.data_endpoint == "https://data.alpaca.markets"
    assert found.equity_usd == (Decimal(80_000), Decimal(200_000))
    assert found.limits.account.notional_usd_max == 25_000
    assert found.make_sizer() == FixedNotional(Decimal(20_000))
    assert repr(found.make_strategy()) == "SmaCross(fast=20, slow=50)"
    assert found.keys_file == Path("~/.config/mqd/paper.keys").expanduser()
    assert found.state.resolve() == ROOT / "runs/sample_paper"


BAD = [
    (r"^mode = .paper.", 'mode = "papper"', "Did you mean 'paper'"),
    (r"^mode = .*$", "", "mode is missing"),
    (r"^strategy = .sma_cross.", 'strategy = "sma_cros"', "Did you mean 'sma_cross'"),
    (r"^fast = 20", "fasst = 20", "Did you mean 'fast'"),
    (r"^fast = 20", "fast = 2000", "fast = 2000"),
    (r"^allocation = 1\.0", "allocation = 5", "0.05 is one twentieth"),
    (r"^allocation = 1\.0", "allocation = 0", "above 0"),
    (r"^allocation = 1\.0", "allocation = -0.5", "above 0"),
    (r"^allocation = 1\.0", "allocation = nan", "above 0"),
    (r"^allocation = 1\.0", "allocation = true", "plain number"),
    (r"^allocation = 1\.0", "alocation = 1.0", "Did you mean 'allocation'"),
    (r"^state = .*$", 'state = " "', "not empty"),
    (r"^promotion = .*$", "", "mqd promote"),
    (r"^symbols = .*$", "symbols = []", "universe is empty"),
    (r"^symbols = .*$", 'symbols = "AAPL"', "must be a list"),
    (r"^symbols = .*$", 'symbols = ["AAPL", "AAPL"]', "listed twice"),
    (r"^symbols = .*$", 'symbols = ["aapl"]', "no symbol"),
    (r"^symbols = .*$", 'symbols = ["TSLA"]', "universe does not allow it"),
    (r"^timeframe = .*$", 'timeframe = "daily"', "none of 30s"),
    (r"^calendar = .*$", 'calendar = "NYSE"', "XNYS"),
    (r"^tick = .*$", 'tick = "5"', "must be a step"),
    (r"^tick = .*$", 'tick = "a cent"', "must be a step"),
    (r"^lot = .*$", "lot = 0", "must be a step"),
    (r"^feed = .*$", 'feed = "iexx"', "Did you mean 'iex'"),
    (r"^anchor = .*$", 'anchor = "soon"', "2024-01-02"),
    (r"^anchor = .*$", "anchor = 2024-01-02T09:30:00", "2024-01-02"),
    (r"^sizer = .*$", 'sizer = "notionl=20000"', "Did you mean 'notional'"),
    (r"^sizer = .*$", 'sizer = "notional=much"', "no size for notional"),
    (r"^sizer = .*$", "multiplier = 5", "1, 2, 3 or 4"),
    (r"^sizer = .*$", "rebalance_band_frac = 5", "0.05 is one twentieth"),
    (r"^limits = .*$", "", "No desk starts without limits"),
    (r"^limits = .*$", 'limits = "../limits/none.toml"', "cannot be read"),
    (r"^account_sha256 = .*$", 'account_sha256 = "PA12345"', "sha256sum"),
    (r"^account_sha256 = .*$", "", "sha256sum"),
    (r"^keys_file = .*$", "", "one of both"),
    (r"^keys_file = .*$", 'keys_env = ["a b", "c"]', "not the keys themselves"),
    (r"^equity_usd_min = \S+", "equity_usd_min = 300_000", "must be below"),
    (r"^equity_usd_max = .*$", "", "equity_usd_max is missing"),
    (r"^equity_usd_max = .*$", 'equity_usd_max = "all"', "plain number"),
    (r"^\[account\]$", '[account]\nendpoint = ""', "not empty"),
    (r"^\[account\]$", '[account]\nendpoint = "https://paper-api.alpaca.markets/"', "slash"),
    (r"^\[account\]$", '[account]\nendpoint = "https://api.alpaca.markets"', "must agree"),
    (r"^\[account\]$", '[account]\nendpoint = "http://paper-api.alpaca.markets"', "unknown"),
    (r"^\[account\]$", '[account]\nendpoint = "https://evil.example"', "unknown"),
    (r"^\[account\]$", '[account]\nendpoint = "http://127.0.0.1:80"', "rehearsal"),
    (r"^\[account\]$", '[account]\ndata_endpoint = "https://evil.example"', "market data"),
    (r"^\[account\]$", '[account]\nsecret = "x"', "unknown key 'secret'"),
    (r"^\[account\]$", "[acount]", "Did you mean 'account'"),
]


@pytest.mark.parametrize(("old", "new", "expected"), BAD, ids=[f"{n}: {e}" for _, n, e in BAD])
def test_a_slip_is_refused_with_file_and_line(written, old, new, expected):
    with pytest.raises(BadLiveConfig, match=re.escape(expected)) as caught:
        written((old, new))
    assert str(caught.value).startswith(f"{caught.value.file}, line {caught.value.line}: ")
    assert caught.value.file.endswith("desk.toml")
    if new and expected != "universe does not allow it":
        assert caught.value.line - line_of(old) in (0, new.count("\n"))


def test_a_key_that_is_missing_is_placed_at_its_table(written):
    with pytest.raises(BadLiveConfig) as caught:
        written((r"^anchor = .*$", ""))
    assert caught.value.line == line_of(r"^\[universe\]")


def test_a_mistake_in_the_limits_names_the_limits_file(written, tmp_path):
    (tmp_path / "limits/sample_paper_limits.toml").write_text(
        "[account]\ndaily_loss_frac_max = 5\n"
    )
    with pytest.raises(BadLimits, match=r"sample_paper_limits\.toml, line 2"):
        written()


def test_keys_that_were_written_into_the_file_are_not_repeated(written):
    secret = "s3cr3t/canary+value"
    with pytest.raises(BadLiveConfig) as caught:
        written((r"^keys_file = .*$", f'keys_env = ["PKCANARY", "{secret}"]'))
    assert secret not in str(caught.value)


def test_live_mode_has_its_own_endpoint_and_needs_a_promotion(written):
    live = (r"^mode = .paper.", 'mode = "live"')
    assert written(live).endpoint == "https://api.alpaca.markets"
    with pytest.raises(BadLiveConfig, match="mqd promote"):
        written(live, (r"^promotion = .*$", ""))
    with pytest.raises(BadLiveConfig, match="No desk starts without limits"):
        written(live, (r"^limits = .*$", ""))


def test_a_rehearsal_may_talk_to_this_machine_and_needs_no_record(written):
    loopback = (r"^\[account\]$", '[account]\nendpoint = "http://127.0.0.1:4321"')
    found = written(loopback, (r"^promotion = .*$", ""), rehearsal=True)
    assert (found.endpoint, found.data_endpoint) == ("http://127.0.0.1:4321",) * 2
    assert found.promotion is None


def test_keys_may_come_from_the_environment(written):
    found = written((r"^keys_file = .*$", 'keys_env = ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"]'))
    assert found.keys_env == ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
    assert found.keys_file is None


def test_the_hash_is_that_of_the_effect(written):
    plain = written().sha256
    moved = written((r"^state = .*$", 'state = "elsewhere"'), (r"^# A paper desk.*$", "# other"))
    assert moved.sha256 == plain
    assert written((r"^tick = .*$", "tick = 0.0001")).sha256 == plain
    changed = [
        (r"^fast = 20", "fast = 21"), (r"^allocation = 1\.0", "allocation = 0.5"),
        (r"^sizer = .*$", 'sizer = "fraction"'), (r"^feed = .*$", 'feed = "sip"'),
        (r"^equity_usd_max = .*$", "equity_usd_max = 200_001"), (r"^lot = .*$", 'lot = "0.001"'),
        (r"^anchor = .*$", "anchor = 2024-01-03"), (r"^timeframe = .*$", 'timeframe = "60min"'),
    ]  # fmt: skip
    hashes = {written(change).sha256 for change in changed}
    assert len(hashes) == len(changed)
    assert plain not in hashes


def test_the_hash_follows_the_limits(written, tmp_path):
    plain = written().sha256
    file = tmp_path / "limits/sample_paper_limits.toml"
    file.write_text(file.read_text().replace("0.15", "0.14"))
    assert written().sha256 != plain


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_sentence(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "any.toml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(BadLiveConfig, match=r"any\.toml, line \d+: "):
        read_config(file)


@given(
    place=st.integers(0, len(TEXT) - 1), cut=st.integers(0, 40),
    put=st.text('=[]{}"#.\\n -_0123456789abcXYZ', max_size=6),
)  # fmt: skip
@settings(max_examples=1500)
def test_any_edit_of_the_sample_is_a_configuration_or_a_sentence(place, cut, put):
    folder = SAMPLE.parent
    text = TEXT[:place] + put + TEXT[place + cut :]
    toml = TomlFile.__new__(TomlFile)
    toml.path, toml.name, toml._lines = folder / "any.toml", "any.toml", text.splitlines()
    try:
        toml.tables = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError:
        return
    found, said = None, ""
    try:
        found = _Reader(toml, folder, rehearsal=False).config(toml.path)
    except ConfigError as error:
        said = str(error)
    if found is None:
        assert re.match(r".*\.toml, line \d+: ", said)
        return
    assert found.symbols
    assert 0 < found.allocation <= 1
    assert found.endpoint in ENDPOINTS.values()
    assert found.limits.allow >= set(found.symbols)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(BadLiveConfig, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_a_strategy_file_lies_beside_the_configuration(
    written, tmp_path, monkeypatch, tmp_path_factory
):
    rule = (
        "from mqd.strategy.library.sma_cross import SmaCross\n\n\nclass Mine(SmaCross):\n    pass\n"
    )
    (tmp_path / "config/mine.py").write_text(rule)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = written((r'^strategy = "sma_cross"', 'strategy = "mine.py:Mine"'))
    assert config.strategy == f"{tmp_path / 'config/mine.py'}:Mine"
    assert type(config.make_strategy()).__name__ == "Mine"
