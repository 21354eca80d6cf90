"""What promotion refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mqd.errors import ConfigError, MqdError

if TYPE_CHECKING:
    from mqd.promotion.gates import Gate


class PromotionRefused(MqdError):
    """A strategy that did not pass every gate; ``gates`` are all that were looked at."""

    def __init__(self, strategy: str, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        failed = [gate for gate in gates if not gate.passed]
        lines = "\n".join(f"  {gate.name}: {gate.sentence}" for gate in failed)
        super().__init__(f"{strategy} is not promoted: {len(failed)} gate(s) failed.\n{lines}")


class BadRecord(ConfigError):
    """A promotion record that cannot be read or was changed."""

    def __init__(self, file: str, what: str) -> None:
        self.file = file
        super().__init__(f"{file}: {what}. Make it again with 'mqd promote'.")


class NotPromoted(MqdError):
    """What is about to trade is not what was promoted."""

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        lines = "\n".join(f"  {line}" for line in differences)
        super().__init__(
            f"This is not what was promoted:\n{lines}\nPromote it as it is now ('mqd promote'),"
            " or go back to what was promoted."
        )
