"""Risk: every order is judged before it leaves. Views, rules, limits, latches, the manager."""

from mqd.risk.declare import rule
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.risk.limits import Limits, LimitValues
from mqd.risk.manager import RiskManager
from mqd.risk.verdict import Refusal, RefusalCode, Refused
from mqd.risk.views import OrderView, PortfolioView, Snapshot

__all__ = [
    "KillSwitch",
    "LatchLevel",
    "LimitValues",
    "Limits",
    "OrderView",
    "PortfolioView",
    "Refusal",
    "RefusalCode",
    "Refused",
    "RiskManager",
    "Snapshot",
    "rule",
]
