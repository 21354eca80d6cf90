"""Rebuild from the log = the store that ran beside it, for any consistent story."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.accounting import apply_fill
from mqd.log_reader import log_sha256
from mqd.positions.store import PositionStore
from mqd.transaction_log import TransactionLog, new_run_folder

QUANTUM = Decimal("1e-8")
TICK_QUANTA = 10**4  # a tick of 0.0001 and a lot of 1, in quanta of 1e-8
SYMBOLS = ("AAPL", "BRK.B", "BTC/USD")

FILL = st.tuples(
    st.just("fill"), st.sampled_from(SYMBOLS), st.sampled_from(["buy", "sell"]),
    st.integers(1, 400), st.integers(1, 10**7), st.integers(0, 10**9),
)  # fmt: skip
CASH = st.tuples(
    st.just("cash"), st.sampled_from(["deposits", "dividends", "borrow", "fees"]),
    st.sampled_from(SYMBOLS), st.integers(-(10**12), 10**12),
)  # fmt: skip
SPLIT = st.tuples(
    st.just("action"), st.sampled_from(SYMBOLS), st.integers(1, 20), st.integers(1, 20),
    st.integers(-(10**6), 10**6),
)  # fmt: skip
OTHER = st.tuples(st.sampled_from(["decision", "mark", "timer"]))
STORY = st.lists(st.one_of(FILL, FILL, FILL, CASH, SPLIT, OTHER), max_size=60)


class Teller:
    """Turns a drawn story into records, with the accounting that the desk uses."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, int]] = {}
        self.count = 0

    def records(self, step) -> list[tuple[str, dict]]:
        self.count += 1
        match step:
            case ("fill", symbol, side, lots, ticks, fee):
                return self.fill(symbol, side, lots, ticks, fee)
            case ("cash", account, symbol, quanta):
                return [("cash", {"account": account, "symbol": symbol, "amount": money(quanta)})]
            case ("action", symbol, up, down, cash):
                return [("action", self.split(symbol, up, down, cash))]
            case (kind,):
                return [(kind, {"n": self.count})]
            case _:
                raise AssertionError(step)

    def fill(self, symbol: str, side: str, lots: int, ticks: int, fee: int):
        sign = 1 if side == "buy" else -1
        before, cost_before = self.held.get(symbol, (0, 0))
        after, cost, gain = apply_fill(before, cost_before, sign * lots, ticks * TICK_QUANTA)
        self.held[symbol] = (after, cost)
        order = {"id": f"o{self.count}", "strategy": "s", "symbol": symbol, "side": side,
                 "qty": str(lots), "type": "market"}  # fmt: skip
        fill = order | {
            "exec_id": f"e{self.count}", "ts_fill": self.count, "px": money(ticks * TICK_QUANTA),
            "fee": money(fee), "kind": "fill", "cum": str(lots),
            "cash": money(-sign * lots * ticks * TICK_QUANTA - fee),
            "cost": money(cost - cost_before), "realized": money(gain), "position": str(after),
            "position_cost": money(cost),
        }  # fmt: skip
        report = {"kind": "accepted", "id": order["id"], "symbol": symbol, "cum": "0"}
        return [("intent", order), ("report", report), ("fill", fill)]

    def split(self, symbol: str, up: int, down: int, cash: int) -> dict:
        before, cost = self.held.get(symbol, (0, 0))
        after = before * up // down
        self.held[symbol] = (after, cost)
        return {"symbol": symbol, "kind": "split", "ratio": f"{up}/{down}",
                "qty_before": str(before), "qty_after": str(after), "cash": money(cash),
                "cost_delta": "0", "realized": money(cash)}  # fmt: skip


def money(quanta: int) -> str:
    return f"{quanta * QUANTUM:f}"


@settings(max_examples=60, deadline=None)
@given(story=STORY, batch=st.integers(1, 40), cut=st.integers(0, 60))
def test_store_beside_the_log_equals_the_store_rebuilt_from_it(story, batch, cut):
    with tempfile.TemporaryDirectory() as scratch:
        folder = new_run_folder(Path(scratch) / "run")
        log = TransactionLog.create(folder, {}, durable=False, segment_bytes_max=8_000)
        store = PositionStore.create(folder, tip=log.tip, batch=batch)
        teller, cash = Teller(), Decimal(0)
        for number, step in enumerate(story):
            for kind, payload in teller.records(step):
                seq = log.append(kind, number, payload)
                cash += Decimal(payload.get("amount") or payload.get("cash") or 0)
                if number < cut:  # from the cut on the store is behind, as after a kill
                    store.apply(seq, kind, number, payload)
        store.commit()
        log.close("done")
        store.close()
        assert log_sha256(folder) == log.sha256

        recovered, rebuilt = PositionStore.recover(folder), PositionStore.rebuild(folder)
        assert recovered.compare(rebuilt) == []
        recovered.check_balance()
        balances = recovered.balances()
        assert sum(balances.values()) == 0
        assert balances.get("cash", Decimal(0)) == cash
        held = {symbol: held.qty for symbol, held in recovered.positions().items()}
        assert held == {symbol: Decimal(lots) for symbol, (lots, _) in teller.held.items()}
        assert len(list(recovered.rows("fills"))) == sum(step[0] == "fill" for step in story)
        recovered.close()
        rebuilt.close()
