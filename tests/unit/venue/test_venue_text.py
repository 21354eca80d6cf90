"""How the venue writes instants, amounts and ids, and how it reads what clients write."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.venue import query, text
from mqd.venue.errors import Refused
from mqd.venue.intake import read_amount

NS = 10**9
NOON = 1_709_568_000 * NS  # 2024-03-04 16:00:00 UTC

STAMPS = [
    (NOON, "2024-03-04T16:00:00Z"),
    (NOON + 1, "2024-03-04T16:00:00.000000001Z"),
    (NOON + 120_000_000, "2024-03-04T16:00:00.12Z"),
    (NOON + 123_456_700, "2024-03-04T16:00:00.1234567Z"),
]


@pytest.mark.parametrize(("ts_ns", "expected"), STAMPS)
def test_a_stamp_drops_trailing_zeros(ts_ns, expected):
    assert text.stamp(ts_ns) == expected
    assert query.instant_ns(expected) == ts_ns


READINGS = [
    ("2024-03-04", NOON - 16 * 3600 * NS),
    ("2024-03-04T11:00:00-05:00", NOON),
    ("2024-03-04T16:00:00+00:00", NOON),
    ("2024-03-04T16:00:00 00:00", NOON),  # a plus sign that nobody escaped
    ("2024-03-04T16:00:00", NOON),
    ("2024-03-04T16:00:00.5Z", NOON + NS // 2),
]


@pytest.mark.parametrize(("words", "expected"), READINGS)
def test_an_instant_is_read_in_every_form_that_clients_write(words, expected):
    assert query.instant_ns(words) == expected


@given(st.integers(0, 4_000_000_000 * NS))
def test_what_is_written_is_read_back_to_the_nanosecond(ts_ns):
    assert query.instant_ns(text.stamp(ts_ns)) == ts_ns
    assert query.instant_ns(text.local_stamp(ts_ns)) == ts_ns


@pytest.mark.parametrize(
    ("ts_ns", "expected"),
    [
        (NOON, "2024-03-04T11:00:00-05:00"),
        (NOON + 10 * 86_400 * NS, "2024-03-14T12:00:00-04:00"),
    ],
)  # fmt: skip
def test_new_yorks_clock_knows_summer_time(ts_ns, expected):
    assert text.local_stamp(ts_ns) == expected
    assert text.day_of(ts_ns) == expected[:10]


AMOUNTS = [
    ("100", "100"), ("100.00", "100"), ("1E+2", "100"), ("0.10", "0.1"), ("-0", "0"),
    ("0.000000001", "0.000000001"), ("-3.50", "-3.5"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "expected"), AMOUNTS)
def test_an_amount_has_no_exponent_and_no_trailing_zeros(given_, expected):
    assert text.amount(Decimal(given_)) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9))
def test_an_amount_says_the_same_number(value):
    assert Decimal(text.amount(value)) == value


def test_ids_have_the_shape_of_uuids_and_ulids_and_never_change():
    first, second = text.uuid_of("a", 1), text.uuid_of("a", 2)
    assert first == text.uuid_of("a", 1) != second
    assert UUID(first).version == 4
    assert str(UUID(first)) == first
    ulid = text.ulid_of(NOON, "a")
    assert len(ulid) == 26
    assert ulid < text.ulid_of(NOON + NS, "a")
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = 0
    for letter in ulid[:10]:
        number = number * 32 + digits.index(letter)
    assert datetime.fromtimestamp(number / 1000, UTC) == datetime(2024, 3, 4, 16, tzinfo=UTC)


@pytest.mark.parametrize("given_", ["x", "-1", "0", "NaN", "Infinity", "1e13", True, [1], {}])
def test_no_amount_is_refused(given_):
    with pytest.raises(Refused, match="qty must be a number above 0"):
        read_amount({"qty": given_}, "qty")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [(None, None), ("", None), ("1.50", Decimal("1.5")), (3, Decimal(3)), (0.1, Decimal("0.1"))],
)
def test_an_amount_is_read_exactly(given_, expected):
    assert read_amount({"qty": given_}, "qty") == expected


@pytest.mark.parametrize("number", ["0", "501", "-1", "ten", "1.5", "٣"])
def test_a_limit_outside_its_range_is_refused(number):
    with pytest.raises(Refused, match="limit must be from 1 to 500"):
        query.whole({"limit": number}, "limit", 50, 500)
