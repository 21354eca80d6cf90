"""Profiles of the property tests, and the order in which several workers take the tests.

`ci` repeats exactly, `nightly` searches further. Compiled code of the tests is kept in the
checkout, never in the user's own folder.
"""

import os
from pathlib import Path

import pytest
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
    "test_dies_before_sending.py", "test_kernel.py", "test_kernel_rules.py", "test_notebooks.py",
    "test_desk_twin.py", "test_fault_seeds.py", "test_kill9_soak.py", "test_workers.py",
    "test_stretches.py", "test_readme.py", "test_sweep_page.py", "test_tearsheet_page.py",
)  # fmt: skip
"""Files whose tests begin first: one that begins last leaves the other workers idle."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Begin with the longest files; tests that share a fixture of their module share a worker.

    Else each worker builds that fixture, and again whenever it has been to another module between.
    """
    items.sort(key=lambda one: LONGEST.index(one.path.name) if one.path.name in LONGEST else 99)
    for item in items:
        if shares_a_fixture(item) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def shares_a_fixture(item):
    """Return whether a test uses a fixture that is built once a module."""
    found = item._fixtureinfo.name2fixturedefs.values()
    return any(definitions[-1].scope == "module" for definitions in found)
