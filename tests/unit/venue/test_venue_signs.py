"""Halts and bands as the venue's data socket tells them, and as a desk's sightings read them."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

from mqd.adapters.alpaca.stream_wire import decode_data
from mqd.core.money import Scale, run_quantum
from mqd.live.sightings import Sightings
from mqd.venue.data_stream import CHANNEL_OF, encode
from mqd.venue.signs import HaltSigns, bands

NOW = 1_700_000_000 * 10**9
STEPS = Decimal("0.01"), Decimal(1)
SCALES = {"MSFT": Scale.of(*STEPS, run_quantum([STEPS]))}


def desk():
    clock = SimpleNamespace(factor=1.0, now_ns=lambda: NOW, monotonic_ns=lambda: 10**12)
    return Sightings(SCALES, clock)


def heard(sightings, messages):
    """Let messages go over the wire, as msgpack, to a desk."""
    sightings.put(decode_data(encode(messages, packed=True)))
    return sightings.look(["MSFT"], watched=True)["MSFT"]


def test_each_halt_is_told_once_at_each_end():
    signs = HaltSigns([("IBM", 40, 60), ("MSFT", 20, 45)])
    told = {
        at: [(one["S"], one["sc"]) for one in signs.at(at)] for at in (0, 20, 30, 45, 50, 60, 70)
    }
    assert told == {
        0: [], 20: [("MSFT", "H")], 30: [], 45: [("IBM", "H"), ("MSFT", "T")], 50: [],
        60: [("IBM", "T")], 70: [],
    }  # fmt: skip


def test_a_halt_between_two_bars_is_told_whole():
    told = HaltSigns([("MSFT", 20, 25)]).at(30)
    assert [one["sc"] for one in told] == ["H", "T"]


def test_a_desk_reads_what_the_venue_tells():
    sightings, signs = desk(), HaltSigns([("MSFT", NOW, NOW + 60)])
    assert heard(sightings, signs.at(NOW)).halted == 1
    assert heard(sightings, signs.at(NOW + 60)).halted == 0


def test_a_quote_at_the_venues_band_is_a_limit_state():
    sightings = desk()
    band = bands([("MSFT", 100.0)], NOW)
    assert (band[0]["u"], band[0]["d"]) == (105.0, 95.0)
    assert {CHANNEL_OF[one["T"]] for one in band} == {"lulds"}
    quote = {"T": "q", "S": "MSFT", "t": NOW, "bp": 104.9, "bs": 1, "ap": 105.0, "as": 1}
    assert heard(sightings, [*band, quote]).limit_state == 0
    assert heard(sightings, [{**quote, "bp": 105.0, "ap": 105.01}]).limit_state == 1
