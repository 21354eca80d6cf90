"""The one door through which alpaca-py comes in: quietly.

Its clients import its streams, and those import ``websockets.legacy``, which says on import that
it is deprecated. We use neither, and a user of ours can do nothing about it: that one warning is
left out, any other of the SDK's is shown.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LEGACY: Final = "websockets.legacy is deprecated"


@contextmanager
def quietly() -> Iterator[None]:
    """Import alpaca-py inside this: its warning about ``websockets.legacy`` is not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", LEGACY, DeprecationWarning)
        yield
