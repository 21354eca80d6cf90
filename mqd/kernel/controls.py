"""Limits and rules laid out for the compiled loop, and the core that is bound to the rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Ints
from mqd.core.money import Scale
from mqd.errors import NotCompilable
from mqd.kernel import core
from mqd.kernel.layout import CONTROL
from mqd.kernel.settings import Settings
from mqd.market_data.bars import Bars
from mqd.market_data.sessions import session_volumes
from mqd.risk.declare import Rule, spec_of
from mqd.risk.integer_checks import Power
from mqd.risk.limits import INF, NAMES, Limits, LimitValues
from mqd.risk.rules import RULES
from mqd.risk.views import OrderView, PortfolioView, rates
from mqd.strategy import jit
from mqd.strategy.bytecode import argument_uses
from mqd.strategy.code_cache import fingerprint
from mqd.strategy.fingerprints import is_dispatcher
from mqd.strategy.reached import codes, reached

FACTOR_MAX = 2**29
RULES_MAX = 60
_AGE = "last_same_order_age_ns"
_DIVISIONS = frozenset({"/", "/=", "//", "//=", "%", "%="})
_POWERS = frozenset({"**", "**="})
_Key = tuple[bool, tuple[tuple[str, str, bool], ...]]
KEPT_MAX = 64
_MADE: OrderedDict[_Key, Any] = OrderedDict()
_REFUSED: OrderedDict[_Key, str] = OrderedDict()


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """Return the rules that judge every order, in the order of their bits."""
    return (*(() if settings.limits.is_research else RULES), *settings.rules)


# --- limits ---------------------------------------------------------------------------------------


def controls_of(
    bars: Bars, settings: Settings, scales: Mapping[str, Scale], quantum: Decimal, name: str
) -> NDArray[np.void]:
    """Return one line of ``layout.CONTROL`` a symbol and one of the account; none without rules.

    Raises ``NotCompilable`` for limits that 64 bits cannot compare exactly, and for a collar.
    """
    if settings.limits.market_collar_frac is not None:
        raise NotCompilable(
            "market_collar_frac sends market orders as limit orders, which only the desk does."
        )
    n_rules = len(rules_of(settings))
    lines = np.zeros(len(bars.symbols) + 1 if n_rules else 0, dtype=CONTROL)
    if not n_rules:
        return lines
    limits = settings.limits
    sectors = {name: i for i, name in enumerate(sorted(set(limits.sectors.values())), start=1)}
    for symbol, line in zip(bars.symbols, lines, strict=False):
        values = limits.values(name, symbol)
        _put(line, values)
        line["ticks_per_usd"], line["lots_per_share"], line["usd"] = rates(scales[symbol])
        line["allowed"] = limits.is_allowed(symbol)
        line["denied"] = symbol in limits.deny
        line["sector_known"] = symbol in limits.sectors
        line["sector"] = sectors[limits.sectors[symbol]] if symbol in limits.sectors else 0
        cost, gross, equity = _power(values, settings.multiplier)
        line["cost_k"], line["gross_k"], line["equity_k"] = cost, gross, equity
    _put_account(lines[-1], limits, settings.rules)
    lines[-1]["usd_history"] = 1.0 / float(quantum)
    lines[-1]["latch_bit"] = 1 << (1 + n_rules)
    return lines


def _put(line: np.void, values: LimitValues) -> None:
    for field, value in zip(NAMES, values, strict=True):
        line[field] = value


def _put_account(line: np.void, limits: Limits, rules: tuple[Rule, ...]) -> None:
    account = limits.values("", "")
    _put(line, account)
    for field, frac in (
        ("loss", account.daily_loss_frac_max), ("drop", account.drawdown_frac_max)
    ):  # fmt: skip
        if frac != INF:
            fraction = _exact(frac, f"{field} of the account")
            _check_factors(frac, fraction.numerator, fraction.denominator)
            line[f"{field}_n"], line[f"{field}_d"] = fraction.as_integer_ratio()
    line["exact_ages"] = any(_reads_age(rule) for rule in rules)


def _power(values: LimitValues, multiplier: int) -> tuple[int, int, int]:
    """Return the factors of cost, gross and equity in ``integer_checks.buying_power``."""
    for number in (values.multiplier_max, values.buying_power_frac_max):
        _exact(number, "buying power")
    _, m_n, m_d, f_n, f_d = Power.of(values)
    if not multiplier >= values.multiplier_max:
        m_n, m_d = multiplier, 1
    factors = m_d * f_d, m_d * f_n, m_n * f_n
    _check_factors(values.buying_power_frac_max, *factors)
    return factors


def _exact(number: float, what: str) -> Fraction:
    if not abs(number) < INF:
        raise NotCompilable(f"A limit of {number} ({what}) is judged by the desk.")
    return Fraction(repr(number))


def _check_factors(number: float, *factors: int) -> None:
    if any(abs(factor) >= FACTOR_MAX for factor in factors):
        raise NotCompilable(
            f"A limit of {number!r} has more decimals than the compiled loop compares exactly:"
            " write at most eight."
        )


def volumes_known(bars: Bars, rows: Ints) -> Ints:
    """Return the mean volume in lots that is known after each step, -1 for none, (step, symbol)."""
    last = np.maximum.accumulate(rows, axis=0)
    columns = [
        np.where(last[:, p] >= 0, session_volumes(bars[symbol])[last[:, p]], -1)
        for p, symbol in enumerate(bars.symbols)
    ]
    return np.stack(columns, axis=1)


# --- rules ----------------------------------------------------------------------------------------


def core_of(settings: Settings) -> core.Cores:
    """Return the cores bound to the rules of a run.

    Raises ``NotCompilable`` with the rule and the reason.
    """
    rules = rules_of(settings)
    if not rules:
        return core.PLAIN
    if len(rules) > RULES_MAX:
        raise NotCompilable(f"{len(rules)} rules are more than the {RULES_MAX} of a bit mask.")
    for rule in settings.rules:
        _check_rule(rule)
    key = _key(settings)
    if key is None:
        return _compiled(_cores(rules, settings.rules), settings.rules)
    if key in _REFUSED:
        raise NotCompilable(_REFUSED[key])
    try:
        made = _MADE.get(key) or _cores(rules, settings.rules)
        _compiled(made, settings.rules)
    except NotCompilable as error:
        _keep(_REFUSED, key, str(error))
        raise
    _keep(_MADE, key, made)
    return made


def _keep(kept: OrderedDict[_Key, Any], key: _Key, value: object) -> None:
    """Keep a value in place of the one that was not asked for the longest time."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT_MAX:
        kept.popitem(last=False)


def _key(settings: Settings) -> _Key | None:
    """Return what decides the core, None when a rule can only be told by its identity."""
    prints = [fingerprint(rule) for rule in settings.rules]
    if not all(prints):
        return None
    specs = map(spec_of, settings.rules)
    own = [
        (text, spec.name, spec.reducing_passes) for text, spec in zip(prints, specs, strict=True)
    ]
    return settings.limits.is_research, tuple(own)


def _cores(rules: tuple[Rule, ...], own: tuple[Rule, ...]) -> core.Cores:
    handed = {f"rule_{i}": _dispatcher(rule, rule in own) for i, rule in enumerate(rules)}
    bindings = {"RULED": True, "ask_rules": _asking(rules, own, handed)}
    return core.Cores(bindings, handed, _only_bools(rules))


def _compiled(made: core.Cores, own: tuple[Rule, ...]) -> core.Cores:
    """Return cores whose rules are compiled; raise ``NotCompilable`` otherwise."""
    try:
        made.turn()
    except NotCompilable:
        raise
    except Exception as error:
        raise NotCompilable(_why(own, error)) from error
    return made


def _dispatcher(rule: Any, is_own: bool) -> Any:
    """Return a rule for the core: the user's raise on a division by zero, as in Python."""
    import numba

    if is_dispatcher(rule) or not is_own:
        return rule
    return numba.njit(error_model="python", nogil=True)(rule)


def _asking(
    rules: tuple[Rule, ...], own: tuple[Rule, ...], handed: Mapping[str, object]
) -> FunctionType:
    """Write ``ask_rules``: every rule runs, and those that refuse set their bits."""
    n_order, n_portfolio = len(OrderView._fields), len(PortfolioView._fields)
    lines = [
        "def ask_rules(order, portfolio, line, reducing):",
        f"    o = OrderView({', '.join(f'order[{i}]' for i in range(n_order))})",
        f"    p = PortfolioView({', '.join(f'portfolio[{i}]' for i in range(n_portfolio))})",
        f"    limits = LimitValues({', '.join(f'line.{name}' for name in NAMES)})",
        "    mask = 0",
    ]
    for i, rule in enumerate(rules):
        passes = " or reducing" if spec_of(rule).reducing_passes else ""
        if rule in own:
            lines += [
                "    refused = True",
                "    try:",
                f"        refused = not (rule_{i}(o, p, limits){passes})",
                "    except Exception:",
                "        refused = True",
                "    if refused:",
            ]
        else:
            lines.append(f"    if not (rule_{i}(o, p, limits){passes}):")
        lines.append(f"        mask |= {1 << (1 + i)}")
    scope: dict[str, Any] = {
        **handed,
        "OrderView": jit.argument_type("OrderView", OrderView._fields),
        "PortfolioView": jit.argument_type("PortfolioView", PortfolioView._fields),
        "LimitValues": jit.argument_type("LimitValues", NAMES),
    }
    source = "\n".join([*lines, "    return mask"])
    exec(compile(source, "<mqd rules>", "exec"), scope)  # noqa: S102 - our own text
    made: FunctionType = scope["ask_rules"]
    return made


def _only_bools(rules: tuple[Rule, ...]) -> Callable[[Mapping[str, object]], None]:
    def check(compiled: Mapping[str, Any]) -> None:
        from numba import types

        for i, rule in enumerate(rules):
            for version in compiled[f"rule_{i}"].overloads.values():
                kind = version.signature.return_type
                if not isinstance(kind, types.Boolean):
                    raise NotCompilable(f"Rule {spec_of(rule).name} returns {kind}, not a bool.")

    return check


def _why(own: tuple[Rule, ...], error: Exception) -> str:
    """Find the rule that does not compile, by compiling each alone."""
    import numba

    named: Any = numba.types.NamedUniTuple
    views = (
        ("OrderView", OrderView._fields), ("PortfolioView", PortfolioView._fields),
        ("LimitValues", NAMES),
    )  # fmt: skip
    signature = tuple(
        named(numba.float64, len(fields), jit.argument_type(name, fields)) for name, fields in views
    )
    for rule in own:
        try:
            _dispatcher(rule, True).compile(signature)
        except Exception as reason:  # noqa: BLE001 - numba raises of many kinds
            return f"Rule {spec_of(rule).name} does not compile: {jit.reason(reason, _plain(rule))}"
    return f"The rules do not compile: {error}"


def _plain(rule: Any) -> FunctionType:
    plain: FunctionType = getattr(rule, "py_func", rule)
    return plain


def _check_rule(rule: Any) -> None:
    """Raise ``NotCompilable`` for a rule whose compiled answers could differ from the desk's."""
    name = spec_of(rule).name
    plain = _plain(rule)
    if not isinstance(plain, FunctionType):
        raise NotCompilable(f"Rule {name} is no plain function: only the desk calls it.")
    if is_dispatcher(rule):
        raise NotCompilable(f"Rule {name} is compiled already: hand in the plain function.")
    for function in _functions(plain, set()):
        for code in codes(function.__code__):
            found = _operators(code)
            if found & _POWERS:
                raise NotCompilable(
                    f"Rule {name} uses **, whose last bit differs when compiled: multiply instead."
                )
            if function is not plain and found & _DIVISIONS:
                raise NotCompilable(
                    f"Rule {name} divides inside {function.__name__}: divide in the rule itself."
                )
            if "random" in code.co_names:
                raise NotCompilable(f"Rule {name} is random: only the desk runs it.")


def _functions(function: FunctionType, seen: set[FunctionType]) -> list[FunctionType]:
    """Return a function and the plain functions that it reaches."""
    if function in seen:
        return []
    seen.add(function)
    found = [function]
    for value, _ in reached(function).values():
        if isinstance(value, FunctionType):
            found += _functions(value, seen)
    return found


def _operators(code: CodeType) -> set[str]:
    import dis

    return {i.argrepr for i in dis.get_instructions(code) if i.opname == "BINARY_OP"}


def _reads_age(rule: Rule) -> bool:
    uses = argument_uses(_plain(rule))
    return len(uses) < 2 or uses[1].escapes or _AGE in uses[1].reads
