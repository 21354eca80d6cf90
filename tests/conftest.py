"""Profiles of the property tests: `ci` repeats exactly, `nightly` searches further.

Compiled code of the tests is kept in the checkout, never in the user's own folder.
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
