"""Laws of the simulated venue that hold for every market and every order."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.execution_report import ReportKind
from mqd.core.order import OrderType, TimeInForce
from tests.unit.execution.replayed import HOUR_NS, Replayed

ENDED = {
    ReportKind.FILL, ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED,
    ReportKind.REPLACED,
}  # fmt: skip
FILLS = {ReportKind.FILL, ReportKind.PARTIAL_FILL}
PRICES = st.integers(90, 110)


@st.composite
def bar(draw):
    """Draw one bar's text, sometimes absent or without volume."""
    low, *between, high = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
    open_, close = draw(st.permutations(between))
    volume = draw(st.sampled_from([0, 3, 7, 1000, 1000]))
    return draw(st.sampled_from([f"{open_}/{high}/{low}/{close}/{volume}"] * 6 + ["-"]))


@st.composite
def market(draw):
    """Draw two sessions of three bars; the first bar is always there."""
    rows = [draw(bar()) for _ in range(6)]
    rows[0] = "100/101/99/100"
    return " ".join(rows[:3]) + " | " + " ".join(rows[3:])


@st.composite
def order(draw, name):
    """Draw an order of any type and life, its prices near the market."""
    kind = draw(st.sampled_from(list(OrderType)))
    side = draw(st.sampled_from(["buy", "sell"]))
    words = [name, side, str(draw(st.integers(1, 12))), kind.value]
    words.append(draw(st.sampled_from(list(TimeInForce))).value)
    if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        words.append(f"limit={draw(PRICES)}")
    if kind in (OrderType.STOP, OrderType.STOP_LIMIT):
        words.append(f"stop={draw(PRICES)}")
    if kind is OrderType.TRAILING_STOP:
        words.append(f"trail={draw(st.integers(1, 8))}")
    words.append(draw(st.sampled_from(["", "reason=target", "reason=stop_loss"])))
    return " ".join(words)


@st.composite
def pair(draw, name, entry):
    """Draw a protective pair, or a bracket around an entry."""
    side = draw(st.sampled_from(["buy", "sell"]))
    lots, first, second = draw(st.integers(1, 12)), draw(PRICES), draw(PRICES)
    group = f"class={'bracket' if entry else 'oco'} group={name}"
    legs = [
        f"{name}t {side} {lots} limit gtc limit={first} {group}",
        f"{name}s {side} {lots} stop gtc stop={second} {group}",
    ]
    if not entry:
        return " + ".join(legs)
    other = "sell" if side == "buy" else "buy"
    kind = draw(st.sampled_from(["market", f"limit gtc limit={draw(PRICES)}"]))
    kind = kind if " " in kind else "market gtc"
    return " + ".join(
        [f"{name} {other} {lots} {kind} {group}"] + [f"{x} parent={name}" for x in legs]
    )


@st.composite
def commands(draw):
    """Draw orders, pairs, cancels and replaces at closes and opens."""
    out = defaultdict(list)
    times = st.sampled_from(["0.0", "0.1o", "0.1", "0.2", "1.0o", "1.0", "1.1"])
    names = []
    for number in range(draw(st.integers(1, 6))):
        name = f"o{number}"
        what = draw(st.sampled_from(["order"] * 4 + ["pair", "bracket", "cancel", "replace"]))
        if what in ("cancel", "replace") and names:
            old = draw(st.sampled_from(names))
            text = f"cancel {old}" if what == "cancel" else f"replace {old} {draw(order(name))}"
        elif what in ("pair", "bracket"):
            text = draw(pair(name, what == "bracket"))
        else:
            text = draw(order(name))
        names.append(name)
        out[draw(times)].append(text)
    return out


@settings(max_examples=150)
@given(
    bars=market(),
    texts=commands(),
    held=st.integers(-10, 10),
    kind=st.sampled_from(["margin", "cash"]),
    cash=st.sampled_from(["8", "1000000"]),
    frac=st.sampled_from([0.5, 1.0]),
    latency=st.sampled_from([0, 1, HOUR_NS]),
)
def test_no_fill_breaks_a_law(bars, texts, held, kind, cash, frac, latency):
    held = abs(held) if kind == "cash" else held
    venue = Replayed(bars, kind=kind, cash=cash, frac=frac, latency_ns=latency)
    if held:
        venue.hold("A", held, 100)
    venue.run(texts)
    tape = venue.tapes["A"]
    row_of = {close: row for row, close in enumerate(tape.ts_close)}
    sides, asked, filled, over = {}, {}, defaultdict(int), set()
    used = defaultdict(int)
    for text in [text for batch in texts.values() for text in batch]:
        for part in text.removeprefix("replace ").split(" + "):
            words = part.split()
            words = words[1:] if words[1] not in ("buy", "sell") else words
            if len(words) > 2:
                sides[words[0]], asked[words[0]] = words[1], int(words[2])
    lots = held
    for step, report in venue.said:
        name = report.client_order_id
        if report.kind in FILLS:
            assert name not in over
            row = row_of[step.ts_close]
            assert tape.low[row] <= report.last_ticks <= tape.high[row]
            used[row] += report.last_lots
            assert used[row] <= tape.capacity[row]
            filled[name] += report.last_lots
            assert report.cum_lots == filled[name] <= asked[name]
            assert (report.kind is ReportKind.FILL) is (filled[name] == asked[name])
            lots += report.last_lots if sides[name] == "buy" else -report.last_lots
        if report.kind in ENDED:
            assert name not in over
            over.add(name)
        if kind == "cash":
            assert lots >= 0
    assert venue.account.lots("A") == lots
    assert venue.account.ledger.imbalance() == 0
    assert not over & {working.client_order_id for working in venue.broker.open_orders()}
    if kind == "cash":
        assert venue.account.account().settled_quanta >= 0


@settings(max_examples=60)
@given(bars=market(), texts=commands(), latency=st.sampled_from([0, 1]))
def test_the_future_changes_nothing_that_was_reported(bars, texts, latency):
    first, _, second = bars.partition(" | ")
    short = Replayed(bars, latency_ns=latency).run(texts)
    other = " ".join("50/60/40/55" if row != "-" else "-" for row in second.split())
    changed = Replayed(f"{first} | {other}", latency_ns=latency).run(texts)
    before = [r for step, r in short.said if step.day == 0]
    assert before == [r for step, r in changed.said if step.day == 0]
