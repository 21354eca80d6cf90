"""Laws of one call: what must hold between two answers of a rule to related questions.

Each judge takes a case and returns a ``Finding``, or None when the law held or said nothing
there. ``applies`` returns why a law does not run for a rule, or an empty text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from mqd.risk.declare import Rule, RuleSpec, spec_of
from mqd.testing.cases import Case, Reads, approves, plain, reads_in, rule_answers
from mqd.testing.finding import Finding, after
from mqd.testing.strategies import with_reducing

NOTIONAL_LIMITS = frozenset(
    {"notional_usd_max", "notional_frac_max", "position_frac_max", "gross_frac_max",
     "net_frac_max", "concentration_frac_max", "sector_frac_max", "sector_unknown_frac_max",
     "buying_power_frac_max", "margin_equity_frac_max", "turnover_frac_max"}
)  # fmt: skip
NOTIONAL_CONTROLS = frozenset({4, 6, 7, 8, 20, 28})
REDUCING_CONTROLS = frozenset({9, 10, 28, 29})
LATCH_CONTROLS = frozenset({9, 10, 25})
ONE_SIDED_CONTROLS = frozenset({2, 20, 21})
CONTROL_OF_LIMIT = {"daily_loss_frac_max": 9, "drawdown_frac_max": 10, "turnover_frac_max": 28}


class Subject(NamedTuple):
    """A rule under test, with what is known of it; ``compiled`` is None where numba refuses."""

    rule: Rule
    spec: RuleSpec
    reads: Reads
    compiled: Callable[..., object] | None
    why_not_compiled: str

    def approves(self, case: Case) -> bool:
        """Say whether the manager would let this case pass the rule."""
        return approves(self.rule, *case)

    @property
    def control(self) -> int:
        """The declared control, also when only its limit is named; 0 when none is."""
        return self.spec.control or CONTROL_OF_LIMIT.get(self.spec.limit, 0)


class Law(NamedTuple):
    """One law: number, title, why it does not run for a subject, and its judge."""

    name: str
    title: str
    applies: Callable[[Subject], str]
    judge: Callable[[Subject, Case], Finding | None]
    is_wild: bool = False


def always(_: Subject) -> str:
    """Say that a law runs for every rule."""
    return ""


def _reads(*fields: str) -> Callable[[Subject], str]:
    def applies(subject: Subject) -> str:
        return "" if subject.reads.has(*fields) else f"the rule reads none of {', '.join(fields)}"

    return applies


def total(subject: Subject, case: Case) -> Finding | None:
    """P1: any float gets an answer, and a NaN in what the rule reads never passes.

    The NaN is tried on an order that reduces nothing: a reduction may pass whatever is unknown,
    and ``order.reducing`` itself is computed by the manager and always known.
    """
    answer = rule_answers(plain(subject.rule), *case)
    if not isinstance(answer, bool):
        what = f"raised {answer!r}" if isinstance(answer, Exception) else f"answered {answer!r}"
        body = f"{case.source(1)}\nanswer = rule_answers(rule, order_1, portfolio_1, limits_1)"
        check = f"assert isinstance(answer, bool), {f'P1: the rule {what}, which is no bool'!r}"
        return Finding("P1", f"the rule {what}", f"{body}\n{check}")
    for where, field in reads_in(subject.rule, case):
        if field == "reducing":
            continue
        unknown = case.replace("order", "reducing", 0.0).replace(where, field, float("nan"))
        if rule_answers(subject.rule, *unknown) is not True:
            continue
        text = f"{where}.{field} is NaN, and the order passes"
        body = unknown.source(1)
        call = "rule_answers(rule, order_1, portfolio_1, limits_1)"
        return Finding("P1", text, f"{body}\nassert {call} is not True, {'P1: ' + text!r}")
    return None


def size(subject: Subject, case: Case) -> Finding | None:
    """P2: what passes at a quantity passes at every smaller one.

    Orders that only close are left out: closing a part of a position that is above a limit may
    be refused where closing more is not.
    """
    if not subject.approves(case):
        return None
    for part in (0.5, 0.25, 0.1):
        qty = max(1.0, case.order.qty * part // 1)
        if qty >= case.order.qty or _closes(case, qty):
            continue
        order = case.order._replace(qty=qty, notional=qty * case.order.px)
        smaller = case._replace(order=with_reducing(order, case.portfolio))
        if not subject.approves(smaller):
            return after("P2", case, smaller, "a smaller order is refused")
    return None


def _closes(case: Case, qty: float) -> bool:
    """Say whether ``qty`` only brings the position, or the account's net, nearer to zero."""
    side, p = case.order.side, case.portfolio
    position = side * p.qty < 0 and qty <= abs(p.qty)
    return position or (side * p.net < 0 and qty * case.order.px <= abs(p.net))


def limits_monotone(subject: Subject, case: Case) -> Finding | None:
    """P3: what passes under a limit passes under a looser one."""
    if not subject.approves(case):
        return None
    for name in sorted(subject.reads.limits):
        value = getattr(case.limits, name)
        factors = (1.25, 2.0, 10.0) if name.endswith("_max") else (0.8, 0.5, 0.0)
        for factor in factors:
            looser = case.replace("limits", name, value * factor)
            if not subject.approves(looser):
                return after("P3", case, looser, f"refused under a looser {name}")
    return None


def price(subject: Subject, case: Case) -> Finding | None:
    """P4: a lower limit of a buy never adds a violation."""
    order = case.order
    if order.side < 0 or not order.limit_px > 0 or not subject.approves(case):
        return None
    for factor in (0.99, 0.95, 0.9):
        px = order.px * factor
        lower = case._replace(order=order._replace(px=px, limit_px=px, notional=order.qty * px))
        if not subject.approves(lower):
            return after("P4", case, lower, "a lower buy limit is refused")
    return None


def age(subject: Subject, case: Case) -> Finding | None:
    """P5: older data never turn a refusal into an approval."""
    if subject.approves(case) or case.portfolio.ref_age_ns < 0:
        return None
    for older_ns in (1.0, 1e9, 60e9, 3600e9, 86_400e9, 1e15):
        older = case.replace("portfolio", "ref_age_ns", case.portfolio.ref_age_ns + older_ns)
        if subject.approves(older):
            return after("P5", older, case, "passes only because the price is older")
    return None


def open_orders_and_equity(subject: Subject, case: Case) -> Finding | None:
    """P6: one more open order never helps, and more equity never hurts."""
    p, side = case.portfolio, case.order.side
    if subject.approves(case):
        for more in (1.0, 1_000.0, 100_000.0):
            richer = case._replace(portfolio=p._replace(equity=p.equity + more, cash=p.cash + more))
            if not subject.approves(richer):
                return after("P6", case, richer, "refused only because equity is higher")
        return None
    if case.order.reducing:
        return None
    for lots in (1.0, 5.0, 50.0):
        value = lots * p.ref_px
        busier = p._replace(
            open_qty=p.open_qty + lots, gross=p.gross + value, net=p.net + side * value,
            open_notional=p.open_notional + value, sector_gross=p.sector_gross + value,
            n_open_symbol=p.n_open_symbol + 1.0, n_open_account=p.n_open_account + 1.0,
        )  # fmt: skip
        then = Case(with_reducing(case.order, busier), busier, case.limits)
        if subject.approves(then):
            return after("P6", then, case, "passes only with one more open order on its side")
    return None


def reducing_passes(subject: Subject, case: Case) -> Finding | None:
    """P7: an order that only reduces always passes the controls that a halt must not block."""
    p, order = case.portfolio, case.order
    held = p._replace(qty=-order.side * (order.qty + p.open_qty))
    reducing = Case(with_reducing(order, held), held, case.limits)
    if subject.approves(reducing):
        return None
    text = f"an order that only reduces is refused by control {subject.control}"
    check = f"assert approves(rule, order_1, portfolio_1, limits_1), {'P7: ' + text!r}"
    return Finding("P7", text, f"{reducing.source(1)}\n{check}")


def _p7_applies(subject: Subject) -> str:
    if subject.control in REDUCING_CONTROLS:
        return ""
    return "the rule declares none of the controls 9, 10, 28, 29"


def flip(subject: Subject, case: Case) -> Finding | None:
    """P8: an order that flips a position is judged no milder than its opening part from flat."""
    p, order = case.portfolio, case.order
    held = abs(p.qty)
    if p.qty * order.side >= 0 or order.qty <= held or not subject.approves(case):
        return None
    if p.open_qty or p.open_opposite_qty:
        return None
    qty = order.qty - held
    value = held * p.ref_px
    flat = p._replace(
        qty=0.0, gross=p.gross - value, gross_held=p.gross_held - value,
        net=p.net - p.qty * p.ref_px, net_held=p.net_held - p.qty * p.ref_px,
        cash=p.cash + p.qty * p.ref_px, sector_gross=p.sector_gross - value,
    )  # fmt: skip
    opening = order._replace(qty=qty, notional=qty * order.px, reducing=0.0)
    then = Case(opening, flat, case.limits)
    if subject.approves(then):
        return None
    return after("P8", case, then, "a flip passes where its opening part alone is refused")


def pure(subject: Subject, case: Case) -> Finding | None:
    """P10: the same question gets the same answer, whatever was asked in between."""
    other = case._replace(order=case.order._replace(side=-case.order.side, qty=1.0))
    asked = (case, other, case, case, other, case)
    answers = [repr(rule_answers(subject.rule, *one)) for one in asked]
    same = {answers[0], answers[2], answers[3], answers[5]}
    if len(same) == 1 and answers[1] == answers[4]:
        return None
    text = f"the same question got the answers {', '.join(sorted({*same, *answers}))}"
    lines = [
        case.source(1),
        "answers = {repr(rule_answers(rule, order_1, portfolio_1, limits_1)) for _ in range(9)}",
        f"assert len(answers) == 1, {'P10: ' + text!r}",
    ]
    return Finding("P10", text, "\n".join(lines))


def mirror(subject: Subject, case: Case) -> Finding | None:
    """P14: long and short are judged alike (market orders: limit prices have no mirror image)."""
    p = case.portfolio
    o = case.order._replace(px=p.ref_px, limit_px=0.0, notional=case.order.qty * p.ref_px)
    case = case._replace(order=o)
    turned = Case(
        o._replace(side=-o.side),
        p._replace(qty=-p.qty, net=-p.net, net_held=-p.net_held),
        case.limits,
    )
    if subject.approves(case) and not subject.approves(turned):
        return after("P14", case, turned, "its mirror image is refused")
    return None


def _p14_applies(subject: Subject) -> str:
    if subject.control in ONE_SIDED_CONTROLS:
        return f"control {subject.control} treats long and short differently"
    if subject.reads.has("open_opposite_px", "cash"):
        return "other orders' prices and cash have no mirror image"
    return ""


def split(subject: Subject, case: Case) -> Finding | None:
    """P15: a split (quantities x k, prices / k) changes no verdict on notional."""
    if not subject.approves(case):
        return None
    o, p = case.order, case.portfolio
    for k in (2.0, 0.5, 4.0, 16.0):
        then = Case(
            o._replace(qty=o.qty * k, px=o.px / k, limit_px=o.limit_px / k),
            p._replace(
                qty=p.qty * k, open_qty=p.open_qty * k, ref_px=p.ref_px / k,
                open_opposite_qty=p.open_opposite_qty * k, median_px=p.median_px / k,
                open_opposite_px=p.open_opposite_px / k,
                average_volume=p.average_volume * (k if p.average_volume > 0 else 1.0),
            ),
            case.limits,
        )  # fmt: skip
        if not subject.approves(then):
            return after("P15", case, then, f"refused after a split of {k:g} for 1")
    return None


def _p15_applies(subject: Subject) -> str:
    spec = subject.spec
    by_limit = spec.limit in NOTIONAL_LIMITS or "_usd_" in spec.limit
    by_control = not spec.limit and spec.control in NOTIONAL_CONTROLS
    return "" if by_limit or by_control else "the rule declares no notional limit"


def clock_jump(subject: Subject, case: Case) -> Finding | None:
    """P13: a jump of the clock alone never lets through what a latching control refused."""
    if subject.approves(case):
        return None
    for jump_ns in (1e9, 3600e9, 86_400e9, 30 * 86_400e9, -86_400e9):
        later = case.replace("portfolio", "now_ns", case.portfolio.now_ns + jump_ns)
        if subject.approves(later):
            return after("P13", later, case, "passes only because the clock has moved")
    return None


def _p13_applies(subject: Subject) -> str:
    if subject.control in LATCH_CONTROLS and subject.reads.has("now_ns"):
        return ""
    return "the rule declares none of the controls 9, 10, 25, or reads no time"


def compiled_alike(subject: Subject, case: Case) -> Finding | None:
    """Compiled and plain: numba's answer and Python's are the same."""
    if subject.compiled is None:
        return None
    ours, theirs = (
        rule_answers(plain(subject.rule), *case),
        rule_answers(cast(Rule, subject.compiled), *case),
    )
    if type(ours) is type(theirs) and (isinstance(ours, Exception) or ours == theirs):
        return None
    text = f"plain Python answers {ours!r}, compiled by numba {theirs!r}"
    lines = [
        "import numba",
        case.source(1),
        "python = rule_answers(rule, order_1, portfolio_1, limits_1)",
        "machine = rule_answers(numba.njit(rule), order_1, portfolio_1, limits_1)",
        f"assert repr(python) == repr(machine), {'compiled: ' + text!r}",
    ]
    return Finding("compiled", text, "\n".join(lines))


def _compiled_applies(subject: Subject) -> str:
    return "" if subject.compiled is not None else f"numba: {subject.why_not_compiled}"


PRICE_FIELDS = ("px", "limit_px", "notional")
MONEY_FIELDS = ("open_qty", "gross", "net", "open_notional", "sector_gross", "equity", "cash",
                "n_open_symbol", "n_open_account", "reducing")  # fmt: skip

LAWS: tuple[Law, ...] = (
    Law("P1", "any float gets an answer; NaN never passes", always, total, is_wild=True),
    Law("P2", "a smaller order passes too", always, size),
    Law(
        "P3",
        "a looser limit passes too",
        lambda s: "" if s.reads.limits else "the rule reads no limit",
        limits_monotone,
    ),
    Law("P4", "a lower buy limit passes too", _reads(*PRICE_FIELDS), price),
    Law("P5", "older data never help", _reads("ref_age_ns"), age),
    Law(
        "P6",
        "open orders never help, equity never hurts",
        _reads(*MONEY_FIELDS),
        open_orders_and_equity,
    ),
    Law("P7", "reductions pass a halt", _p7_applies, reducing_passes),
    Law("P8", "a flip is an opening", _reads("qty", "side", "reducing"), flip),
    Law("P10", "same question, same answer", always, pure),
    Law("P13", "a clock jump opens no latch", _p13_applies, clock_jump),
    Law("P14", "long and short alike", _p14_applies, mirror),
    Law("P15", "a split changes no notional", _p15_applies, split),
    Law("compiled", "numba and Python agree", _compiled_applies, compiled_alike, is_wild=True),
)


def subject_of(rule: Rule, reads: Reads) -> Subject:
    """Return the rule with its declaration and, where numba takes it, its compiled form."""
    from numba import njit

    from mqd.testing.cases import LIMITS, ORDER, PORTFOLIO

    compiled: Any = None
    why = ""
    try:
        compile_rule: Any = njit
        compiled = compile_rule(plain(rule))
        compiled(ORDER, PORTFOLIO, LIMITS)
    except Exception as error:  # noqa: BLE001 - a compiled rule may raise; it is compared
        why = " ".join(str(error).split())[:160]
    if not getattr(compiled, "signatures", ()):
        compiled = None
    return Subject(rule, spec_of(rule), reads, compiled, why)
