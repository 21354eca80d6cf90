"""The records that the compiled loop works on, and nothing else.

Prices are ticks, quantities lots, money quanta, times ns, all int64; what ends in ``_px`` or
``_frac``, and weights, are float64. Every field is eight bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mqd.risk.limits import NAMES

_INT, _FLOAT = np.int64, np.float64
RULED = False
"""Whether rules run beside buying power; True in a core that is bound to rules."""
RING, SAME = 4, 8
NEVER = 2**62


def _record(ints: str, floats: str = "", **inner: np.dtype[np.void]) -> np.dtype[np.void]:
    fields: list[tuple[str, Any]] = [(name, _INT) for name in ints.split()]
    fields += [(name, _FLOAT) for name in floats.split()]
    return np.dtype([*fields, *inner.items()], align=True)


BAR = _record(
    "open high low close room ts_open trades sec taf taf_max cat", "high_px low_px close_px"
)
"""One bar. ``room`` is its participation in lots, -1 without volume; ``trades`` 1 when it has
volume and no halt; ``sec, taf, taf_max, cat`` the day's regulatory rates."""

STEP = _record(
    "now opens expires_open expires_close ends days_to_next action_from action_to next_action"
)
"""One step: its close, its first open, when a DAY order sent then ends, and the next step with a
corporate action (of step 0: the first one; far beyond the end when there is none)."""

ACTION = _record("place is_split numerator denominator per_lot per_lot_parts ordinal")
"""A corporate action; ``per_lot + per_lot_parts / 1e6`` quanta a lot are a dividend."""

ORDER = _record(
    "on side left filled size level sent_step arrives_ns expires_ns rank line decided_ns reducing"
    " triggered extreme trail units first"
)
"""A resting order. ``line`` is its row in the records, ``level`` its stop or limit; ``extreme``,
``trail`` (a distance, 0 for a fixed stop) and ``units`` (1e-8 of the price) are a trailing
stop's; ``first`` is 1 while it is asked among the reductions."""

BOOK = _record(
    "lot_quanta fee_per_lot short_step lot_parts whole by_name place lots cost mark open_mark row"
    " entry_row used goal sized resize bare trip waits w_lots w_decided_ns w_equity changed moves",
    "tick_px lots_per_share size_base weight raw blocked peak_px want last",
    target=ORDER, stop=ORDER, profit=ORDER,
)  # fmt: skip
"""One symbol: constants, position, target and its three orders.

``sized`` is 0 while a target waits for its first size, ``bare`` 1 while a position lacks its
protective orders, ``waits`` the place in the queue of an increase that waits (``w_x`` its terms),
``moves`` 1 when the present decision sends an order. ``weight`` is the last target, ``raw`` the
same before rounding, ``blocked`` what may not re-enter after an exit (HOLD: nothing), ``want``
what the rule says now, ``last`` what it said before."""

ACCOUNT = _record(
    "multiplier fee_rate slippage_rate borrow_rate latency_ns touch all_day start_cash cent"
    " regulatory sizer lookback n_steps exits recording pure ruled"
    " cash fees borrow dividends sec_units sec_parts taf_parts cat_parts owes busy queue reductions"
    " lost n_orders n_denied n_fills n_trades n_wins gained losses exposed ambiguous capped trimmed"
    " gaps follow_ups zero_sizes fractional status bad_step bad_place sequence sent_ns expires_ns"
    " n_lines n_executions equity close_max woken",
    "share band_frac bars_per_year quanta_per_unit goal_frac most stop_frac take_frac trail_frac"
    " bad_weight traded drawdown_frac downside mean_equity previous top low",
)
"""The run: its settings, its money, its counts. ``band_frac`` is NaN when there is none."""

DONE, BAD_NUMBER, OVERFLOW, REJECTED, MASKED, TOO_MUCH, WRONG_SHAPE, TOO_LARGE, UNFINISHED = range(
    9
)
"""How a combination ended: ``status``."""

CONTROL = _record(
    "sector cost_k gross_k equity_k ref_ns lost_ns ring_at loss_n loss_d drop_n drop_d latch_bit"
    " exact_ages marked clock_ns now_ns day_start high_water level messages orders fills"
    " day_notional bucket_ns tripped",
    "allowed denied sector_known ticks_per_usd lots_per_share usd usd_history tokens "
    + " ".join(NAMES),
    ring=np.dtype((_INT, (RING, 3))), same=np.dtype((_INT, (SAME, 5))), sorted=np.dtype((_INT, 20)),
)  # fmt: skip
"""What rules read of one symbol, or (the last line) of the account: the limits that bind, buying
power's factors (``x_k``), scales, and the past. ``ring`` holds times with counts (fills of each
side; the account's orders and messages), ``same`` the last orders sent, ``lost_ns`` when the
newest forgotten one was sent; ``sorted`` is scratch."""

FRACTION, QUANTITY, NOTIONAL, VOLATILITY, KELLY = range(5)
"""``sizer``."""


class World(NamedTuple):
    """Everything that a step touches: the market (shared, read only) and one thread's state."""

    account: Any  # ACCOUNT, one record
    books: Any  # BOOK (symbol,)
    tape: Any  # BAR (symbol, row)
    steps: Any  # STEP (step,)
    rows: Any  # int64 (step, symbol): the symbol's row in a step, -1 without a bar; with rules
    # as many columns more: its mean volume in lots known after the step, -1 for none
    actions: Any  # ACTION (action,)
    orders: Any  # int64 (capacity, 13): records.ORDER_FIELDS and what refused it
    fills: Any  # int64 (capacity, 6): records.FILL_FIELDS; splits have order -1
    controls: Any  # CONTROL (symbol + 1,), empty where no rules run
