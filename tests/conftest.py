"""Profiles of the property tests: `ci` repeats exactly, `nightly` searches further."""

import os

from hypothesis import HealthCheck, settings

SLOW_MACHINE = [HealthCheck.too_slow]

settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=SLOW_MACHINE
)
settings.register_profile(
    "nightly", deadline=None, max_examples=2000, suppress_health_check=SLOW_MACHINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
