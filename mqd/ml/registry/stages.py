"""Where versions stand: what the lines of a registry's record come to. No file is read for it.

A line registers a version or gives it a stage. The line that crowns a champion also names the one
that it retires: one line, so that a name never loses one without getting the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from mqd.errors import ModelRefused

STAGES: Final = ("shadow", "candidate", "champion", "retired")
MOVES: Final = {
    "shadow": ("candidate", "retired"),
    "candidate": ("champion", "shadow", "retired"),
    "champion": ("retired",),
    "retired": ("shadow", "champion"),
}
"""Where a version may go from each stage. Only a former champion comes back as one: a rollback."""

Records = Sequence[Mapping[str, Any]]


class Standing(NamedTuple):
    """A version and its stage, as the record has them."""

    name: str
    sha256: str
    stage: str

    @property
    def reference(self) -> str:
        """``NAME@SHA256``, as strategies and records name it."""
        return f"{self.name}@{self.sha256}"

    @property
    def short(self) -> str:
        """``NAME@`` and twelve digits, for sentences."""
        return f"{self.name}@{self.sha256[:12]}"


def standings(records: Records, name: str | None = None) -> list[Standing]:
    """Return the versions of ``name``, or of all names, in the order they were registered."""
    stages: dict[tuple[str, str], str] = {}
    for record in records:
        if name in {None, record["name"]}:
            stages[record["name"], record["sha256"]] = record["stage"]
            if "retires" in record:
                stages[record["name"], record["retires"]] = "retired"
    return [Standing(of, sha256, stage) for (of, sha256), stage in stages.items()]


def champion_of(records: Records, name: str) -> Standing | None:
    """Return the champion of ``name``, None when there is none."""
    return next((one for one in standings(records, name) if one.stage == "champion"), None)


def former_champion(records: Records, name: str) -> str | None:
    """Return the hash of the champion that may answer when the present one cannot, or None.

    It is the last one that a candidate replaced and that nobody has moved since. One that was
    retired by hand, or for which a former champion was brought back, failed somebody.
    """
    stages: dict[str, str] = {}
    former: list[str] = []
    for record in records:
        if record["name"] != name:
            continue
        sha256, before = record["sha256"], stages.get(record["sha256"])
        stages[sha256] = record["stage"]
        former = [one for one in former if one != sha256]
        if "retires" in record and before == "candidate":
            former.append(record["retires"])
    return former[-1] if former else None


def check_move(records: Records, version: Standing, stage: str) -> None:
    """Raise ``ModelRefused`` unless ``version`` may go to ``stage``."""
    ways = MOVES[version.stage]
    if stage not in ways:
        raise ModelRefused(
            version.short,
            f"it is {version.stage}; from there it goes to {' or '.join(ways)}, not to {stage}",
        )
    crowned = any(
        record["stage"] == "champion"
        for record in records
        if (record["name"], record["sha256"]) == version[:2]
    )
    if version.stage == "retired" and stage == "champion" and not crowned:
        raise ModelRefused(
            version.short, "it never was champion: it starts again as shadow, then candidate"
        )
