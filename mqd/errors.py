"""Every error that mqd raises. Each class writes its own sentence from its fields.

The sentence says what is wrong, where, and what to do. ``exit_code`` is what the command line
returns for it: 1 a finding or refusal, 2 usage or configuration, 3 the state folder is taken.

    MqdError
    ├── DataError
    │   ├── BadRows
    │   ├── MissingColumn
    │   ├── MissingZone
    │   ├── EmptyBars
    │   ├── UnknownSymbol
    │   └── DatasetChanged
    ├── StrategyError
    │   ├── UnknownStrategy
    │   ├── UnknownParameter
    │   ├── ParameterOutOfRange
    │   ├── BadFeatures
    │   ├── BadWeight
    │   ├── StrategyRaised
    │   └── NotCompilable
    ├── ConfigError
    │   ├── UsageError
    │   ├── BadLimits
    │   ├── RunFolderExists
    │   └── RunFolderUnusable
    ├── StateFolderTaken
    ├── OrderError
    │   ├── IllegalTransition
    │   ├── OrderRefused
    │   └── NotDurable
    ├── MoneyError
    │   ├── AmountTooLarge
    │   ├── OffGrid
    │   └── ScaleTooFine
    ├── LogError
    │   ├── LogDamaged
    │   ├── LogSchemaUnknown
    │   └── LogWriteFailed
    ├── StoreError
    │   ├── StoreFailed
    │   └── LedgerUnbalanced
    ├── ModelRefused
    ├── BusOverloaded
    └── StageFailed

Errors of one package alone stand in its own ``errors`` module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or the list of known words when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.55)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(words)}." if words else ""


class MqdError(Exception):
    """The root of all errors of mqd."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as it is: the fields, not the arguments, make the sentence."""
        return _again, (type(self), self.args), self.__dict__


def _again(cls: type[MqdError], args: tuple[Any, ...]) -> MqdError:
    error = cls.__new__(cls)
    error.args = args
    return error


class DataError(MqdError):
    """Market data that cannot be used as it is."""


class BadRows(DataError):
    """Rows that break a rule of bars; carries the first offending ones."""

    def __init__(self, source: str, rule: str, rows: list[str], n_bad: int, fix: str) -> None:
        self.source, self.rule, self.rows, self.n_bad = source, rule, rows, n_bad
        shown = "\n  ".join(rows)
        super().__init__(f"{source}: {n_bad} row(s) break the rule '{rule}':\n  {shown}\n{fix}")


class MissingColumn(DataError):
    """A column that bars need is absent."""

    exit_code = 2

    def __init__(self, source: str, column: str, present: Iterable[str]) -> None:
        self.source, self.column = source, column
        names = list(present)
        super().__init__(
            f"{source}: no column {column!r}.{did_you_mean(column, names)}"
            f" The file has: {', '.join(names)}."
        )


class MissingZone(DataError):
    """Times without a zone: nobody can say which instant they mean."""

    def __init__(self, source: str, column: str, example: str) -> None:
        self.source, self.column = source, column
        super().__init__(
            f"{source}: column {column!r} has no time zone (first value {example!r})."
            " Write an offset in the file (2024-01-02T09:30:00-05:00), or localise the frame:"
            " frame[column].dt.tz_localize('America/New_York')."
        )


class EmptyBars(DataError):
    """No bar is left to work with."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: no bars: {why}.")


class UnknownSymbol(DataError):
    """A symbol that the data do not hold."""

    exit_code = 2

    def __init__(self, symbol: str, source: str, known: Iterable[str]) -> None:
        self.symbol = symbol
        super().__init__(f"{source} has no symbol {symbol!r}.{did_you_mean(symbol, known)}")


class DatasetChanged(DataError):
    """A committed dataset does not match its manifest."""

    def __init__(self, file: str, what: str, expected: object, found: object) -> None:
        super().__init__(
            f"{file}: {what} is {found}, the manifest says {expected}."
            " Restore the file, or rebuild it with 'mqd data build'."
        )


class StrategyError(MqdError):
    """A strategy that cannot run as written."""


class UnknownStrategy(StrategyError):
    """A strategy name that is neither in the library nor importable."""

    exit_code = 2

    def __init__(self, name: str, known: Iterable[str], why: str = "") -> None:
        reason = f" ({why})" if why else ""
        super().__init__(
            f"No strategy {name!r}{reason}.{did_you_mean(name, known)}"
            " Write a library name, module:Class or path.py:Class."
        )


class UnknownParameter(StrategyError):
    """A parameter that the strategy does not declare."""

    exit_code = 2

    def __init__(self, strategy: str, name: str, known: Iterable[str]) -> None:
        self.strategy, self.name = strategy, name
        super().__init__(f"{strategy} has no parameter {name!r}.{did_you_mean(name, known)}")


class ParameterOutOfRange(StrategyError):
    """A parameter value of the wrong type or outside its declared range."""

    exit_code = 2

    def __init__(self, strategy: str, name: str, value: object, wanted: str) -> None:
        super().__init__(f"{strategy}: parameter {name} = {value!r}, but it must be {wanted}.")


class BadFeatures(StrategyError):
    """``features`` returned something that cannot be aligned with the bars."""

    def __init__(self, strategy: str, symbol: str, what: str) -> None:
        super().__init__(f"{strategy}.features on {symbol}: {what}.")


class BadWeight(StrategyError):
    """A target weight that is not a finite number in [-1, 1]."""

    def __init__(self, strategy: str, symbol: str, bar: str, value: object, why: str) -> None:
        super().__init__(
            f"{strategy} returned {value!r} for {symbol} at the bar closing {bar}: {why}."
            " Return a float in [-1, 1], or mqd.HOLD."
        )


class StrategyRaised(StrategyError):
    """The user's code raised; the original exception is the cause."""

    def __init__(self, strategy: str, where: str, symbol: str, bar: str, cause: BaseException):
        super().__init__(
            f"{strategy}.{where} raised {type(cause).__name__}: {cause}"
            f" ({symbol}, bar closing {bar})."
        )


class NotCompilable(StrategyError):
    """A strategy that the compiled loop cannot run; the text says why."""


class ConfigError(MqdError):
    """Wrong words in a call, a command or a file of settings."""

    exit_code = 2


class UsageError(ConfigError):
    """An argument that makes no sense."""


class BadLimits(ConfigError):
    """A limits file that cannot be trusted; names the line."""

    def __init__(self, file: str, line: int, what: str) -> None:
        self.file, self.line = file, line
        super().__init__(f"{file}, line {line}: {what}")


class RunFolderExists(ConfigError):
    """The folder of a new run is already there; nothing in it was touched."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"The run folder {folder} exists. Name a new one, or move it away.")


class RunFolderUnusable(ConfigError):
    """The run folder cannot be created or written."""

    def __init__(self, folder: str, why: str) -> None:
        super().__init__(f"The run folder {folder} cannot be used: {why}.")


class StateFolderTaken(MqdError):
    """Another process holds the state folder."""

    exit_code = 3

    def __init__(self, folder: str) -> None:
        super().__init__(f"Another process holds {folder}. Stop it first, or use another folder.")


class OrderError(MqdError):
    """An order command that cannot be carried out."""


class IllegalTransition(OrderError):
    """Our own command makes no sense in the order's present state."""

    def __init__(self, client_order_id: str, status: str, pending: str, event: str) -> None:
        self.client_order_id, self.status = client_order_id, status
        self.pending, self.event = pending, event
        super().__init__(
            f"Order {client_order_id} is {status} (pending {pending}): {event} is illegal there."
        )


class OrderRefused(OrderError):
    """An order request that is malformed before any rule looks at it."""

    def __init__(self, symbol: str, why: str) -> None:
        super().__init__(f"Order on {symbol} refused: {why}.")


class NotDurable(OrderError):
    """An order whose intent the log has not made durable yet; it was not sent."""

    def __init__(self, client_order_id: str, intent_seq: int, durable_seq: int) -> None:
        self.client_order_id = client_order_id
        self.intent_seq, self.durable_seq = intent_seq, durable_seq
        super().__init__(
            f"Order {client_order_id} was not sent: its intent is record {intent_seq} and the log"
            f" is durable up to {durable_seq}. Sync the log before sending."
        )


class MoneyError(MqdError):
    """An amount that the integers of this run cannot hold exactly."""


class OffGrid(MoneyError):
    """A value that is no whole number of its units."""

    def __init__(self, value: object, unit: object, what: str) -> None:
        super().__init__(f"{what} {value} is not a multiple of {unit}.")


class ScaleTooFine(MoneyError):
    """64-bit integers would not hold the run; says which scale to coarsen."""

    def __init__(self, what: str, coarsen: str) -> None:
        super().__init__(f"{what} does not fit 64-bit integers. Coarsen {coarsen}.")


BOOKS = "the account (cash, equity or its positions together)"


class AmountTooLarge(MoneyError):
    """An amount grew beyond what 64-bit quanta can hold; names the bar."""

    def __init__(self, what: str, bar: str, most: float) -> None:
        super().__init__(
            f"At {bar} {what} is worth more than {most:,.0f}, the most that 64-bit integers hold"
            " here. Start with less cash, end the bars before it, or coarsen tick and lot."
        )


class LogError(MqdError):
    """The transaction log."""


class LogDamaged(LogError):
    """The log is damaged before its last line: it is evidence, and is not repaired."""

    def __init__(self, file: str, line: int, what: str) -> None:
        self.file, self.line = file, line
        super().__init__(
            f"{file}, line {line}: {what}. The log is damaged in its middle and is left untouched;"
            " restore it from a backup, or keep it as evidence and start a new run."
        )


class LogSchemaUnknown(LogError):
    """The log was written by a version that this one does not understand."""

    def __init__(self, file: str, schema: object, known: str) -> None:
        super().__init__(
            f"{file}: log schema {schema!r}, but this version reads {known}."
            " Use the version of mqd that wrote it."
        )


class LogWriteFailed(LogError):
    """The disk refused a record; the run stops at once."""

    def __init__(self, file: str, cause: OSError) -> None:
        super().__init__(
            f"{file}: a log record could not be written ({cause.strerror or cause})."
            " Nothing was acted on after the last full record. Free the disk and run again."
        )


class StoreError(MqdError):
    """The position store, a projection of the log."""


class StoreFailed(StoreError):
    """The store cannot take a record; the log is the truth and is whole."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: {what}. The log is whole: rebuild the store with 'mqd replay'.")


class LedgerUnbalanced(StoreError):
    """A record whose amounts contradict each other or the records before it."""

    def __init__(self, record: str, what: str) -> None:
        self.record = record
        super().__init__(f"{record}: {what}. The record was not booked, and the run stops.")


class ModelRefused(MqdError):
    """A model file or a version that is not used: wrong, changed, unsafe, or not allowed."""

    def __init__(self, what: str, why: str) -> None:
        self.what, self.why = what, why
        super().__init__(f"{what}: {why}")


class BusOverloaded(MqdError):
    """The desk did not take events for so long that a publisher may not go on."""

    def __init__(self, topic: str, waited_s: float) -> None:
        super().__init__(
            f"The bus took no event for {waited_s} s; an event on {topic} was not accepted."
            " The publisher must stop: nothing but quotes may be dropped."
        )


class StageFailed(MqdError):
    """A stage of the desk raised while handling an event; the run stops."""

    def __init__(self, stage: str, event: str, cause: BaseException) -> None:
        super().__init__(f"Stage {stage} failed on {event}: {type(cause).__name__}: {cause}")
