"""Profiles of the property tests, and the order in which workers take the files.

`ci` repeats exactly, `nightly` searches further. Compiled code of the tests is kept in the
checkout, never in the user's own folder.
"""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

KEPT_CODE = Path(__file__).parents[1] / ".pytest_cache" / "mqd-code"
os.environ.setdefault("MQD_CACHE_DIR", str(KEPT_CODE))

SLOW_MACHINE = [HealthCheck.too_slow]

settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=SLOW_MACHINE
)
settings.register_profile(
    "nightly", deadline=None, max_examples=2000, suppress_health_check=SLOW_MACHINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

LONGEST = (
    "test_kernel.py", "test_fault_seeds.py", "test_notebooks.py", "test_kernel_rules.py",
    "test_paper_desk.py", "test_dies_before_sending.py", "test_workers.py", "test_promotion.py",
    "test_adopting.py", "test_kill9_soak.py", "test_paper_budget.py", "test_rehearsal.py",
    "test_desk_twin.py", "test_full_disk.py", "test_checkpoint_restarts.py", "test_stretches.py",
    "test_tap_process.py", "test_readme.py", "test_checkpoints.py", "test_sweep_page.py",
    "test_tearsheet_page.py",
)  # fmt: skip
"""Files that begin first: a long one that begins last leaves the other workers idle."""


def pytest_collection_modifyitems(items):
    """Put the longest files first; workers take files in this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
