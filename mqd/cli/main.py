"""Entry of the ``mqd`` command: dispatch, exit codes, and one sentence for each error.

Exit codes: 0 done, 1 a finding or refusal, 2 usage or configuration, 3 another process holds
the state folder, 130 stopped by Ctrl-C. ``MQD_TRACEBACK=1`` shows where an error arose.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from mqd import __version__
from mqd.errors import MqdError, UsageError, did_you_mean

INTERRUPTED: Final = 130


class Command(NamedTuple):
    """One command: where its function is, and what it does in one line."""

    target: str
    summary: str


COMMANDS: Final = {
    "backtest": Command("mqd.cli.backtest:backtest", "Replay a strategy over bars."),
    "sweep": Command("mqd.cli.sweep:sweep", "Backtest every combination of a grid."),
    "check": Command("mqd.cli.check:check", "Look for lookahead and other ways to fool oneself."),
    "walk-forward": Command(
        "mqd.cli.walk_forward:walk_forward", "Choose in each window, trade the next."
    ),
    "rehearse": Command(
        "mqd.cli.rehearse:rehearse", "Trade a strategy on a local venue that speaks Alpaca."
    ),
    "data list": Command("mqd.cli.data:list_datasets", "List the datasets and what they hold."),
    "data verify": Command("mqd.cli.data:verify", "Recompute hashes and quality of the datasets."),
    "data fetch": Command("mqd.cli.data_fetch:fetch", "Fetch history into the local catalog."),
    "data build": Command("mqd.cli.data:build", "Rebuild datasets from their pinned sources."),
    "models list": Command("mqd.cli.registry:list_versions", "List models and their stages."),
    "models show": Command("mqd.cli.registry:show", "Show what is known of a model."),
    "models move": Command("mqd.cli.registry:move", "Move a model to another stage."),
    "shadow status": Command("mqd.cli.shadow:status", "Show what models said beside a desk."),
    "shadow compare": Command("mqd.cli.shadow:compare", "Say which of two models is better."),
    "shadow replay": Command("mqd.cli.shadow:replay", "Run models over recorded bars."),
    "study new": Command("mqd.cli.study:new", "Make the folder of a question."),
    "promote": Command("mqd.cli.promote:promote", "Prove a strategy and write its record."),
    "paper": Command("mqd.cli.trade:paper", "Trade a configuration on Alpaca paper."),
    "live": Command("mqd.cli.trade:live", "Trade a configuration with money."),
    "status": Command("mqd.cli.status:status", "Show what a desk holds and how it is."),
    "reconcile": Command("mqd.cli.reconcile:reconcile", "Compare a desk's books with its account."),
    "kill": Command("mqd.cli.kill:kill", "Stop a desk now: no order leaves any more."),
    "rearm": Command("mqd.cli.rearm:rearm", "Clear a latch by hand, with a reason."),
    "backup": Command("mqd.cli.backup:backup", "Archive a desk's state folder."),
    "restore": Command("mqd.cli.restore:restore", "Make a state folder from an archive."),
    "replay": Command("mqd.cli.replay:replay", "Rebuild a run's store from its log and compare."),
    "doctor": Command("mqd.cli.doctor:doctor", "Check this machine and this installation."),
}


def run() -> None:
    """Run the command line of this process and exit with its code."""
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    sys.exit(code)


def _drop_output() -> None:
    """Let what is still written to a closed pipe go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(words: Sequence[str]) -> int:
    """Run one command and return its exit code; errors become one sentence on stderr."""
    try:
        return _dispatch(list(words))
    except KeyboardInterrupt:
        print("mqd: Stopped by Ctrl-C. What the run had logged is kept.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 0
    except Exception as error:  # the last handler: nobody is above it
        if os.environ.get("MQD_TRACEBACK") == "1":
            raise
        sentence, code = explain(error)
        print(f"mqd: {sentence}", file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[str, int]:
    """Return the sentence and the exit code of an error."""
    if isinstance(error, MqdError):
        return "\n".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The system'}: {error.strerror}.", 1
    fault = f"This is a fault of mqd itself: {type(error).__name__}: {error}"
    return f"{fault}. MQD_TRACEBACK=1 shows where.", 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"--help", "-h"}:
        print(overview())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    first_words = {name.split()[0] for name in COMMANDS}
    if words[0] not in first_words:
        raise UsageError(f"There is no command {words[0]!r}.{did_you_mean(words[0], first_words)}")
    return _run_app(words)


def overview() -> str:
    """Return the help of ``mqd`` itself, from the table alone: nothing slow is imported."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: mqd COMMAND [--json]",
            "",
            "A desk for one quant: write a strategy once, replay it through every stage.",
            "",
            "Commands:",
            *lines,
            "",
            "mqd COMMAND --help tells its options. --json prints one JSON document to stdout.",
        ]
    )


def _run_app(words: list[str]) -> int:
    from cyclopts import App, CycloptsError, Parameter

    app = App(
        name="mqd",
        help_formatter="plain",
        version_flags=[],
        result_action="return_value",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
    )
    groups: dict[str, App] = {}
    for name, command in COMMANDS.items():
        *group, word = name.split()
        parent = app
        if group:
            parent = groups.setdefault(group[0], App(name=group[0], help_formatter="plain"))
        parent.command(command.target, name=word, help=command.summary)
    for group_app in groups.values():
        app.command(group_app)
    try:
        code = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(_sentence(str(error), words)) from error
    return code if isinstance(code, int) else 0


def _sentence(text: str, words: list[str]) -> str:
    """Return the parser's complaint as one line that ends by naming the command's help."""
    line = " ".join(text.split())
    command = [word for word in words[:2] if not word.startswith("-")]
    known = " ".join(command) if " ".join(command) in COMMANDS else words[0]
    return f"{line} See: mqd {known} --help"
