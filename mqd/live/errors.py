"""What refuses a live configuration, a state folder or an archive of one."""

from __future__ import annotations

from mqd.errors import ConfigError, MqdError


class BadLiveConfig(ConfigError):
    """A live configuration that cannot be trusted; names the line."""

    def __init__(self, file: str, line: int, what: str) -> None:
        self.file, self.line = file, line
        super().__init__(f"{file}, line {line}: {what}")


class StateFolderUnsafe(ConfigError):
    """A state folder that others could change, or that is of another account or mode."""

    def __init__(self, folder: str, why: str) -> None:
        super().__init__(f"The state folder {folder} is refused: {why}.")


class NoStateFolder(ConfigError):
    """There is no desk's state where one was named."""

    def __init__(self, folder: str, why: str) -> None:
        super().__init__(f"{folder} is no state folder: {why}. Name the folder of the account.")


class RearmRefused(MqdError):
    """A latch stays set: trading may not go on yet."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The latch stays set: {why}.")


class AdoptRefused(MqdError):
    """Nothing was taken over from the account: the log is as it was."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Nothing was adopted: {why}.")


class ArchiveDamaged(MqdError):
    """An archive that is not what its manifest says; nothing was restored."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: {what}. Nothing was restored; use another archive.")


class ArchiveFailed(MqdError):
    """An archive that could not be written; none was left behind."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: the archive was not made ({what}). The state is untouched.")


class DeskRefused(MqdError):
    """A desk that may not start, or not go on: nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The desk does not start: {why}.")
