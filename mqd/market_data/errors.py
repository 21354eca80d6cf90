"""Errors of providers, catalog and live data."""

from __future__ import annotations

from collections.abc import Sequence

from mqd.errors import ConfigError, DataError


class ProviderFailed(DataError):
    """A provider could not answer; another one may. ``why`` is what happened."""

    def __init__(self, provider: str, why: str) -> None:
        self.provider, self.why = provider, why
        super().__init__(f"{provider}: {why}.")


class ProviderRefused(ConfigError):
    """A provider understood and refused: wrong keys, no right to the feed, a wrong word.

    Another provider is not asked: what was asked for has to change.
    """

    def __init__(self, provider: str, why: str) -> None:
        self.provider, self.why = provider, why
        super().__init__(f"{provider}: {why}.")


class NoProvider(DataError):
    """Every provider failed; carries one sentence each."""

    def __init__(self, what: str, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__(f"No provider could give {what}: {' '.join(failures)}")


class CatalogDamaged(DataError):
    """A file of the catalog that cannot be read, or that is not what its place says."""

    def __init__(self, file: str, why: str) -> None:
        self.file = file
        super().__init__(f"{file}: {why}. Delete the file and fetch it again.")
