"""By imports and by type: a shadow has nothing through which an order could be made."""

import inspect
import subprocess
import sys
import typing

from mqd.core.bar import BarRow
from mqd.core.protocols import BarListener
from mqd.ml.shadow.tap import ShadowTap
from mqd.ml.shadow.tracker import ShadowModeTracker

TRADING = (
    "mqd.adapters", "mqd.desk", "mqd.execution", "mqd.live", "mqd.orders", "mqd.portfolio",
    "mqd.positions", "mqd.risk", "mqd.venue", "mqd.backtesting", "alpaca",
)  # fmt: skip
LOADED = """
import importlib, pkgutil, sys
import mqd.ml
for one in pkgutil.walk_packages(mqd.ml.__path__, "mqd.ml."):
    importlib.import_module(one.name)
print("\\n".join(sorted(sys.modules)))
"""


def test_loading_all_of_ml_loads_nothing_that_trades():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    modules = done.stdout.split()
    assert "mqd.ml.shadow.tracker" in modules
    assert [one for one in modules if one.startswith(TRADING)] == []


def test_a_listener_is_handed_a_row_of_plain_values_and_returns_nothing():
    for listener in (BarListener, ShadowModeTracker, ShadowTap):
        hints = typing.get_type_hints(listener.on_bar)
        assert hints == {"row": BarRow, "past": bool, "return": type(None)}
    assert set(typing.get_type_hints(BarRow).values()) == {str, int, float}


def test_a_shadow_is_made_of_folders_and_names():
    for made in (ShadowModeTracker, ShadowTap):
        names = set(inspect.signature(made).parameters)
        assert names <= {"folder", "registry", "models", "engine", "symbols"}
