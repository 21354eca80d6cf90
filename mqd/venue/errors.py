"""Errors of the venue: a configuration that cannot run, and answers that refuse a request."""

from __future__ import annotations

from typing import Any

from mqd.errors import ConfigError, MqdError

INVALID = 40010001
BAD_ORDER = 42210000
FORBIDDEN = 40310000
NOT_FOUND = 40410000
UNAUTHORIZED = 40110000
RATE_LIMITED = 42910000


class VenueConfigWrong(ConfigError):
    """The configuration of the venue's process cannot be used."""

    exit_code = 2

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"Venue configuration: {field} {why}.")


class PhaseWrong(MqdError):
    """A phase of a step was asked for out of turn."""

    def __init__(self, phase: str, why: str) -> None:
        super().__init__(f"The phase {phase!r} cannot be taken: {why}.")


class Refused(MqdError):
    """A request that the venue answers with an error: HTTP ``status``, Alpaca's ``code``.

    ``extra`` are the fields that stand beside code and message; ``code`` 0 means none.
    """

    def __init__(self, status: int, code: int, message: str, **extra: Any) -> None:
        self.status, self.code, self.message, self.extra = status, code, message, extra
        super().__init__(f"HTTP {status}, code {code}: {message}")

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        code = {"code": self.code} if self.code else {}
        return {**code, "message": self.message, **self.extra}


def unprocessable(message: str, code: int = INVALID, **extra: Any) -> Refused:
    """Return a refusal with status 422."""
    return Refused(422, code, message, **extra)


def forbidden(message: str, **extra: Any) -> Refused:
    """Return a refusal with status 403 and the code that Alpaca uses for most of them."""
    return Refused(403, FORBIDDEN, message, **extra)


def not_found(message: str) -> Refused:
    """Return a refusal with status 404."""
    return Refused(404, NOT_FOUND, message)
