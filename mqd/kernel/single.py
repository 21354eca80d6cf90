"""One combination with its orders, fills and curves: a compiled backtest."""

from __future__ import annotations

import numpy as np

from mqd.core.bar import Floats
from mqd.core.clock import iso
from mqd.core.money import MOST_QUANTA
from mqd.errors import BOOKS, AmountTooLarge, BadWeight, MqdError, NotCompilable
from mqd.kernel import layout as at
from mqd.kernel.market import Market, market_of
from mqd.kernel.program import Inputs, Kernel, Room, blank, kernel_of, room_for
from mqd.kernel.records import Counts, Records
from mqd.kernel.settings import Settings
from mqd.kernel.verdict import MALFORMED
from mqd.market_data.bars import Bars
from mqd.strategy.causality import check_causal
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

_ROOM = 4096


def run_single(strategy: Strategy, bars: Bars, settings: Settings) -> tuple[Market, Records]:
    """Replay a strategy through the compiled loop and return its records.

    Raises ``NotCompilable`` when only the desk can run it, ``BadWeight`` as the desk does.
    """
    market = market_of(bars, settings, type(strategy).__name__)
    features = {}
    for symbol in bars.symbols:
        features[symbol] = compute_features(strategy, bars[symbol])
        check_causal(strategy, bars[symbol], features[symbol])
    names = features[bars.symbols[0]].names
    holes = any(has_holes(one.ready) for one in features.values())
    exits = exits_of(strategy)
    kernel = kernel_of(strategy, names, holes=holes, alone=market.alone)
    ready = kernel.ready(inputs_of(kernel, strategy, bars, features, exits))
    share = share_of(strategy, bars)
    n = _ROOM
    while True:
        room = room_for(market, n)
        batch = blank(1)
        kernel(market, ready, share, (0, 1), room, batch)
        account = batch.accounts[0]
        needed = max(account["n_lines"], account["n_executions"])
        if needed <= n:
            break
        n = int(needed)
    if account["status"] != at.DONE:
        raise failure(strategy, bars, market, account)
    return market, _records(room, account)


def share_of(strategy: Strategy, bars: Bars) -> float:
    """Return the share of equity that a weight of 1 stands for."""
    return 1.0 if strategy.kind == "allocate" else 1.0 / len(bars.symbols)


def exits_of(strategy: Strategy) -> Floats:
    """Return the protective fractions, shape (1, 3)."""
    fracs = (strategy.stop_loss_frac, strategy.take_profit_frac, strategy.trailing_stop_frac)
    return np.array([fracs], dtype=np.float64)


def has_holes(ready: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> bool:
    """Return True when a row after the first ready one is not."""
    known = np.flatnonzero(ready)
    return bool(len(known)) and not bool(ready[known[0] :].all())


def inputs_of(
    kernel: Kernel, strategy: Strategy, bars: Bars, features: dict[str, Features], exits: Floats
) -> Inputs:
    """Return the inputs of one combination."""
    n_symbols = len(bars.symbols)
    longest = max(len(bars[symbol]) for symbol in bars.symbols)
    matrices = []
    for name in kernel.text.fields:
        matrix = np.full((n_symbols, 1, longest), np.nan)
        for p, symbol in enumerate(bars.symbols):
            one = features[symbol]
            column = (
                one.columns[one.names.index(name)]
                if name in one.names
                else getattr(bars[symbol], name)
            )
            matrix[p, 0, : len(column)] = column
        matrices.append(matrix)
    start = np.full((n_symbols, 1), longest, dtype=np.int64)
    for p, symbol in enumerate(bars.symbols):
        known = np.flatnonzero(features[symbol].ready)
        if len(known):
            start[p, 0] = known[0]
    index = np.zeros((len(matrices), n_symbols, 1), dtype=np.int64)
    parameters = tuple(np.array([getattr(strategy, name)]) for name in kernel.text.parameters)
    return Inputs(tuple(matrices), index, start, parameters, exits)


def failure(strategy: Strategy, bars: Bars, market: Market, account: np.void) -> MqdError:
    """Return what ended a combination early, in the desk's words."""
    status = int(account["status"])
    bar = iso(int(market.ts_close[account["bad_step"]]))
    weight = float(account["bad_weight"])
    name, symbol = type(strategy).__name__, bars.symbols[account["bad_place"]]
    everything = ", ".join(bars.symbols)
    if status == at.BAD_NUMBER:
        return BadWeight(name, symbol, bar, weight, _fault(weight))
    if status == at.MASKED:
        why = "the symbol is not tradable at this bar (now.tradable is False)"
        return BadWeight(name, symbol, bar, weight, why)
    if status == at.TOO_MUCH:
        limit = int(account["multiplier"])
        why = f"the sum of |weights| is above the account's multiplier of {limit:g}"
        return BadWeight(name, "all symbols", bar, weight, why)
    if status == at.WRONG_SHAPE:
        why = f"allocate returns one number a symbol, an array of {len(bars.symbols)}"
        return BadWeight(name, everything, bar, f"an array of {weight:g}", why)
    if status == at.REJECTED:
        return NotCompilable(
            f"At {bar} the venue would reject an order, or a rule asks for more of the past than"
            " the compiled loop keeps: only the desk knows."
        )
    what = f"the target of {name} in {symbol}" if status == at.TOO_LARGE else BOOKS
    return AmountTooLarge(what, bar, float(MOST_QUANTA * market.quantum))


def _fault(weight: float) -> str:
    if weight != weight:  # noqa: PLR0124 - NaN
        return "it is not a number (NaN), often a division of 0 by 0"
    if abs(weight) == float("inf"):
        return "it is infinite, often a division by 0"
    return "it is outside [-1, 1]"


def _records(room: Room, a: np.void) -> Records:
    counts = Counts(
        *(
            int(a[name])
            for name in (
                "ambiguous", "capped", "trimmed", "gaps", "follow_ups", "zero_sizes", "n_denied",
                "fractional", "fees", "borrow", "dividends",
            )
        )
    )  # fmt: skip
    orders, executions = room.orders[: a["n_lines"]], room.fills[: a["n_executions"]]
    is_split = executions[:, 0] < 0
    refused = orders[:, -1]
    denied = np.flatnonzero(refused)
    masks = np.where(refused[denied] == MALFORMED, 0, refused[denied])
    return Records(
        orders[:, :-1], executions[~is_split], executions[is_split][:, 1:],
        np.stack([denied, masks], axis=1), room.cash, room.lots, counts,
    )  # fmt: skip
