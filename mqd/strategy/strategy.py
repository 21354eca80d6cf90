"""``Strategy``: features, a rule, parameters. Written once, run everywhere as it is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, dataclass_transform

from mqd.core.bar import Bar, Quote, SymbolBars, Trade
from mqd.core.execution_report import ExecutionReport
from mqd.core.signal import HOLD
from mqd.errors import StrategyError, UnknownParameter
from mqd.strategy.parameters import Declared, Param, ParameterValue, declare, param

if TYPE_CHECKING:
    from mqd.strategy.context import DeskView

__all__ = ["HOLD", "PROTECTIVE", "Strategy", "param"]

Kind = Literal["decide", "allocate", "event"]
HOOKS = ("on_start", "on_bar", "on_quote", "on_trade", "on_report", "on_timer", "on_stop")
PROTECTIVE: dict[str, Declared] = {
    "stop_loss_frac": Declared("stop_loss_frac", float, 0.0, low=0.0, high=1.0),
    "take_profit_frac": Declared("take_profit_frac", float, 0.0, low=0.0),
    "trailing_stop_frac": Declared("trailing_stop_frac", float, 0.0, low=0.0, high=1.0),
}
"""Parameters that every strategy has without declaring them; 0.0 means none."""


@dataclass_transform(kw_only_default=True, field_specifiers=(param,))
class Strategy:
    """Base of all strategies.

    Annotated class attributes are parameters; an instance is immutable in them, hashable,
    picklable, and equal to another of the same class and values. A strategy trades by exactly
    one of: ``decide`` (one symbol, a target weight), ``allocate`` (all symbols, one weight
    each), or event hooks alone (``on_bar`` ...), which place orders through ``desk.broker``.
    Hooks may also accompany ``decide`` or ``allocate``. An event strategy may keep its own
    attributes on ``self``; the desk runs a ``fresh()`` copy, so no run sees another's.

    ``state``: names and start values of the floats that ``decide`` may keep from bar to bar.
    """

    state: ClassVar[Mapping[str, float]] = {}
    stop_loss_frac = 0.0
    take_profit_frac = 0.0
    trailing_stop_frac = 0.0

    _declared: ClassVar[dict[str, Declared]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            raise StrategyError(
                f"{cls.__name__} defines __init__: declare parameters as annotated class"
                " attributes, and prepare an event strategy in on_start."
            )
        cls._declared = {**cls._declared, **_own_parameters(cls)}
        _check_state(cls)

    def __init__(self, **values: ParameterValue) -> None:
        cls = type(self)
        known = cls.declared()
        for name in values:
            if name not in known:
                raise UnknownParameter(cls.__name__, name, known)
        for name, declared in known.items():
            if name not in values and declared.required:
                raise StrategyError(f"{cls.__name__} needs a value for parameter {name!r}.")
            value = values.get(name, declared.default)
            object.__setattr__(self, name, declared.check(cls.__name__, value))

    @classmethod
    def declared(cls) -> dict[str, Declared]:
        """Return every parameter that the class accepts, the protective ones last."""
        return {**cls._declared, **{k: v for k, v in PROTECTIVE.items() if k not in cls._declared}}

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """Declared parameters, and protective ones that are in use, with their values."""
        own = {name: cast(ParameterValue, getattr(self, name)) for name in self._declared}
        extra = {k: cast(float, getattr(self, k)) for k in PROTECTIVE if k not in own}
        return {**own, **{name: value for name, value in extra.items() if value}}

    @property
    def kind(self) -> Kind:
        """What the strategy trades by: "decide", "allocate" or "event" (hooks alone)."""
        cls = type(self)
        by_decide = cls.decide is not Strategy.decide
        by_allocate = cls.allocate is not Strategy.allocate
        if by_decide and by_allocate:
            raise StrategyError(
                f"{cls.__name__} defines decide and allocate: keep the one it trades by."
            )
        if by_decide or by_allocate:
            return "decide" if by_decide else "allocate"
        if cls.hooks():
            return "event"
        raise StrategyError(
            f"{cls.__name__} never trades: define decide(self, now, position),"
            " allocate(self, now, positions), or hooks such as on_bar(self, desk, bar)."
        )

    @classmethod
    def hooks(cls) -> frozenset[str]:
        """Return the names of the event hooks that the class overrides."""
        return frozenset(h for h in HOOKS if getattr(cls, h) is not getattr(Strategy, h))

    def fresh(self) -> Self:
        """Return an equal instance without any attribute that hooks have set."""
        return type(self)(**self.parameters)

    def features(self, bars: SymbolBars) -> Mapping[str, Any]:  # noqa: ARG002
        """Return named columns of ``len(bars)``: causal, NaN while warming up. Default none."""
        return {}

    def decide(self, *args: Any, **kwargs: Any) -> float:
        """``decide(self, now, position[, state])`` -> target weight in [-1, 1], or ``HOLD``."""
        raise NotImplementedError

    def allocate(self, *args: Any, **kwargs: Any) -> Any:
        """``allocate(self, now, positions)`` -> one weight a symbol; arrays in, array out."""
        raise NotImplementedError

    def on_start(self, desk: DeskView) -> None:
        """Called once before the first bar."""

    def on_bar(self, desk: DeskView, bar: Bar) -> None:
        """Called at each bar's close, before ``decide``."""

    def on_quote(self, desk: DeskView, quote: Quote) -> None:
        """Called for each quote, where the feed has them."""

    def on_trade(self, desk: DeskView, trade: Trade) -> None:
        """Called for each print of the tape, where the feed has them."""

    def on_report(self, desk: DeskView, report: ExecutionReport) -> None:
        """Called for each report about this strategy's orders."""

    def on_timer(self, desk: DeskView, name: str) -> None:
        """Called when a timer set with ``desk.clock.set_timer`` is due."""

    def on_stop(self, desk: DeskView) -> None:
        """Called once after the last bar."""

    def __setattr__(self, name: str, value: object) -> None:
        cls = type(self)
        if name not in cls.declared() and not hasattr(Strategy, name) and cls.hooks():
            object.__setattr__(self, name, value)
            return
        parameter = name in cls.declared()
        instead = (
            f"Make another instance: {cls.__name__}({name}=...)."
            if parameter
            else f"Keep floats that change in state = {{{name!r}: 0.0}}."
        )
        raise StrategyError(f"{cls.__name__} is immutable: {name} cannot be set. {instead}")

    def __delattr__(self, name: str) -> None:
        raise StrategyError(f"{type(self).__name__} is immutable: {name} cannot be deleted.")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.parameters.items())))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({inner})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        reference = getattr(type(self), "__mqd_reference__", None)
        return _rebuild, (reference or type(self), self.parameters)


def _rebuild(source: str | type[Strategy], values: dict[str, ParameterValue]) -> Strategy:
    """Unpickle: a class loaded from a path is found again by its ``path.py:Class``."""
    from mqd.strategy.loading import resolve

    cls = resolve(source) if isinstance(source, str) else source
    return cls(**values)


def _own_parameters(cls: type[Strategy]) -> dict[str, Declared]:
    annotations = {k: v for k, v in inspect.get_annotations(cls).items() if k != "state"}
    found: dict[str, Declared] = {}
    for name, value in list(cls.__dict__.items()):
        marked = isinstance(value, Param) or (name in PROTECTIVE and name not in annotations)
        if name in annotations or marked:
            made = declare(cls.__name__, name, annotations.get(name), value, required=False)
            if made is not None:
                found[name] = made
    for name, annotation in annotations.items():
        if name not in cls.__dict__:
            made = declare(cls.__name__, name, annotation, None, required=True)
            if made is not None:
                found[name] = made
    order = {name: rank for rank, name in enumerate(annotations)}
    for name, declared in found.items():
        _check_name(cls, name, declared)
        setattr(cls, name, declared.default)
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _check_name(cls: type[Strategy], name: str, declared: Declared) -> None:
    if name.startswith("_") or (hasattr(Strategy, name) and name not in PROTECTIVE):
        raise StrategyError(f"{cls.__name__}: {name!r} cannot be a parameter's name; rename it.")
    if name in PROTECTIVE:
        PROTECTIVE[name].check(cls.__name__, declared.default)
        for bound in (declared.low, declared.high):
            if bound is not None:
                PROTECTIVE[name].check(cls.__name__, bound)


def _check_state(cls: type[Strategy]) -> None:
    state = cls.__dict__.get("state", {})
    floats = isinstance(state, Mapping) and all(
        isinstance(key, str) and key.isidentifier() and not key.startswith("_")
        and isinstance(value, int | float)
        for key, value in state.items()
    )  # fmt: skip
    if not floats:
        raise StrategyError(
            f"{cls.__name__}.state must name floats and their start values:"
            " state = {'armed': 0.0}."
        )
