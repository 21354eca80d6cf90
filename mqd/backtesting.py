"""``backtest``: one strategy, or several, replayed over bars through every stage of the desk."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from mqd import trials
from mqd.core.protocols import BarListener
from mqd.desk.harvest import refuse_amounts
from mqd.desk.journal import Journal
from mqd.desk.listening import tell_bars
from mqd.desk.loop import Desk
from mqd.desk.records import text
from mqd.desk.start_record import write_start
from mqd.desk.watch import Watch
from mqd.desk.wiring import Wiring
from mqd.errors import MqdError, NotCompilable, UsageError
from mqd.event_bus import OrderEventBus
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.settings import Settings, is_number, settings_of
from mqd.logs import is_watched
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import Sizer
from mqd.positions.store import PositionStore
from mqd.result import Named, Result, collect
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits
from mqd.strategy.compiled import fingerprint, refuse_texts
from mqd.strategy.strategy import Strategy
from mqd.transaction_log import TransactionLog, new_run_folder

__all__ = ["Result", "backtest"]

Strategies = Strategy | Sequence[tuple[Strategy, float]]
Engine = Literal["auto", "event", "compiled"]
PROGRESS_STEPS = 200_000
GC_ALLOCATIONS = 50_000
STORE_BATCH = 20_000
COMPILED_BARS = 50_000


def backtest(
    strategy: Strategies,
    bars: Bars,
    *,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    account: Literal["margin", "cash"] = "margin",
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
    engine: Engine = "auto",
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    study: str | os.PathLike[str] | None = None,
    bus: OrderEventBus | None = None,
    listener: BarListener | None = None,
) -> Result:
    """Replay ``strategy`` over ``bars`` and return what came of it.

    ``strategy`` is one instance, or a list of ``(instance, allocation)`` whose allocations sum to
    at most 1. ``cash`` in the bars' currency. ``sizer`` defaults to ``FractionOfEquity()``,
    ``costs`` to ``Costs.alpaca()`` (its regulatory table is charged on US equities alone),
    ``fills`` to ``FillModel()``, ``limits`` to research limits
    (well-formed orders and buying power). ``rules`` are risk rules of your own (``mqd.rule``), run
    beside the limits'. ``account="cash"`` enforces settlement; ``multiplier``
    scales equity to buying power. ``rebalance_band_frac`` sends an order when a position's
    weight is further than that from its target.

    ``out`` is the run folder (log, store, report); it must not exist. ``engine="compiled"`` runs
    one strategy in the compiled loop: the same orders, fills and money, no log (``log_sha256`` is
    None); what it cannot run it refuses with the reason (``NotCompilable``). ``"auto"`` takes it
    for runs of 50,000 bars and more that want neither ``out`` nor ``bus``, and the event engine
    for all others. ``seed`` is recorded; nothing in a replay is random. ``study``: a folder in
    which the run is counted as a trial (``mqd.trials``); running the same again is no new one.
    Listeners on ``bus`` hear what happens; ``listener`` is given each closed bar (a shadow, for
    one) and changes nothing.

    Raises ``DataError``, ``StrategyError``, ``ConfigError`` and ``MoneyError``, each saying what,
    where and what to do. After Ctrl-C the run folder holds a readable log up to that step.
    """
    if engine not in ("auto", "event", "compiled"):
        raise UsageError(f"engine = {engine!r}; it must be 'auto', 'event' or 'compiled'.")
    if listener is not None:
        bus = bus or OrderEventBus()
        tell_bars(bus, listener, bars.__getitem__)
    settings = settings_of(
        bars, cash=cash, sizer=sizer, costs=costs, fills=fills, limits=limits, rules=rules,
        account=account, multiplier=multiplier, rebalance_band_frac=rebalance_band_frac, seed=seed,
        bus=bus,
    )  # fmt: skip
    named = name_strategies(strategy)
    if study is not None:
        trials.record(Path(study), "backtest", 1, _identity(named, bars, settings))
    if _compiles(engine, named, bars, out, bus):
        try:
            return _compiled(named, bars, settings)
        except NotCompilable:
            if engine == "compiled":
                raise
    folder = None if out is None else new_run_folder(out)
    log = TransactionLog.create(folder, _header(folder), durable=False)
    store = (
        None
        if folder is None
        else PositionStore.create(folder, tip=log.tip, batch=STORE_BATCH, durable=False)
    )
    journal = Journal(log, store, bus or OrderEventBus())
    watch = None if folder is None else Watch(folder, journal.bus)
    reason = "failed"
    try:
        wiring = Wiring(named, bars, settings, journal)
        desk = wiring.build()
        write_start(
            journal, named, settings, wiring.scales, wiring.cash_quanta,
            data=_data_words(bars), first_ns=bars.first, seed=seed, folder=folder,
        )  # fmt: skip
        if watch is not None:
            watch.say("run_start", strategies=[repr(one) for _, one, _ in named], data=bars.source)
        _replay(desk, bars)
        _write_end(journal, desk)
        reason = "done"
        return collect(desk, named, bars, settings, folder, log.sha256)
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:
        _close(journal, reason)
        if watch is not None:
            watch.end(reason, log_sha256=log.sha256)


def _identity(named: Named, bars: Bars, settings: Settings) -> str:
    """Return a hash of what decides the numbers of a run: code, parameters, data, settings."""
    runs = [(fingerprint(one), dict(one.parameters), share) for _, one, share in named]
    rules = [getattr(rule, "__qualname__", repr(rule)) for rule in settings.rules]
    words = (
        runs, bars.sha256, str(settings.cash), settings.sizer, settings.costs, settings.fills,
        settings.limits.sha256, rules, settings.account, settings.multiplier,
        settings.rebalance_band_frac,
    )  # fmt: skip
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _compiles(
    engine: Engine, named: Named, bars: Bars, out: object, bus: OrderEventBus | None
) -> bool:
    """Return True when the compiled loop is to be tried; refuse what it cannot give."""
    if engine == "compiled":
        if out is not None or bus is not None:
            raise UsageError(
                "The compiled loop writes no log and tells no listener: leave out= and bus= away,"
                " or use engine='event'."
            )
        if len(named) > 1:
            raise NotCompilable("Several strategies share orders, which only the desk nets.")
        return True
    long = sum(len(bars[symbol]) for symbol in bars.symbols) >= COMPILED_BARS
    return engine == "auto" and long and out is None and bus is None and len(named) == 1


def _compiled(named: Named, bars: Bars, settings: Settings) -> Result:
    from mqd.compiled_run import compiled_result
    from mqd.kernel.single import run_single

    refuse_texts(named[0][1])
    market, records = run_single(named[0][1], bars, settings)
    return compiled_result(named, bars, settings, records, market.scales)


def name_strategies(strategy: Strategies) -> list[tuple[str, Strategy, float]]:
    """Return ``(name, instance, allocation)``; a class that occurs twice is named in full."""
    pairs = [(strategy, 1.0)] if isinstance(strategy, Strategy) else _listed(strategy)
    if not pairs:
        raise UsageError("No strategy to run: give one, or a list of (strategy, allocation).")
    for pair in pairs:
        shape: object = pair
        if not (isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[0], Strategy)):
            raise UsageError(
                f"{pair!r} is no (strategy, allocation). An instance is wanted: SmaCross(), not"
                " SmaCross."
            )
        if not is_number(shape[1]):
            raise UsageError(f"{pair[0]!r}: allocation = {shape[1]!r}, but it must be in (0, 1].")
    names = [type(one).__name__ for one, _ in pairs]
    full = [
        repr(one) if names.count(n) > 1 else n for (one, _), n in zip(pairs, names, strict=True)
    ]
    if len(set(full)) < len(full):
        raise UsageError(f"The same strategy is listed twice: {', '.join(full)}.")
    return [
        (name, one.fresh(), float(share)) for name, (one, share) in zip(full, pairs, strict=True)
    ]


def _listed(strategy: object) -> list[tuple[Strategy, float]]:
    if isinstance(strategy, list | tuple):
        return list(strategy)
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        name = strategy.__name__
        raise UsageError(f"{name} is a class: give an instance, {name}().")
    raise UsageError(f"{strategy!r} is no strategy, and no list of (strategy, allocation).")


def _header(folder: Path | None) -> dict[str, object]:
    from mqd import __version__

    return {"run_id": folder.name if folder else "memory", "mode": "replay", "code": __version__}


def _data_words(bars: Bars) -> dict[str, Any]:
    """Return what identifies the data of a replay."""
    return {
        "sha256": bars.sha256, "feed": bars.feed, "timeframe": bars.timeframe,
        "adjust": bars.adjust, "anchor": bars.first,
        "rows": {symbol: len(bars[symbol]) for symbol in bars.symbols},
        "symbols": list(bars.symbols),
    }  # fmt: skip


def _replay(desk: Desk, bars: Bars) -> None:
    desk.start()
    try:
        with _Progress(desk, bars) as after_step, _fewer_collections():
            desk.run(after_step)
    except MqdError:
        refuse_amounts(desk)  # what grew too large before comes first
        raise
    desk.stop()


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Let the garbage collector look less often: a replay keeps nearly all that it makes."""
    thresholds = gc.get_threshold()
    gc.set_threshold(GC_ALLOCATIONS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class _Progress:
    """A bar on long runs at a terminal or in a notebook; nothing otherwise."""

    def __init__(self, desk: Desk, bars: Bars) -> None:
        self._desk, self._title = desk, f"backtest {bars.timeframe}"
        self._bar: Any = None
        self._last = 0

    def __enter__(self) -> Callable[[int], None] | None:
        n_steps = self._desk.parts.market.n_steps
        if n_steps < PROGRESS_STEPS or not is_watched():
            return None
        from tqdm.auto import tqdm

        self._bar = tqdm(total=n_steps, desc=self._title, unit="bar", leave=False)
        return self._step

    def _step(self, step: int) -> None:
        if step - self._last >= PROGRESS_STEPS // 100:
            self._bar.update(step - self._last)
            self._last = step

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _write_end(journal: Journal, desk: Desk) -> None:
    valuation = desk.parts.valuation
    unit = valuation.quantum
    end = {"cash": text(valuation.ledger.cash, unit), "equity": text(valuation.equity(), unit)}
    journal.write("run.end", end)


def _close(journal: Journal, reason: str) -> None:
    """Leave a readable run folder whatever happened; an error under way stays the one raised."""
    journal.bus.close()
    closers: list[Callable[[], None]] = [lambda: journal.log.close(reason)]
    if journal.store is not None:
        closers.append(journal.store.close)
    for close in closers:
        with suppress(*(() if reason == "done" else (MqdError, OSError))):
            close()
