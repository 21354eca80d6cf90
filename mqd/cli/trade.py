"""``mqd paper`` and ``mqd live``: trade a promoted configuration on its account."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mqd.cli import output
from mqd.cli.models import (
    MODEL_WORDS,
    SHADOW_WORDS,
    ModelWords,
    ShadowWords,
    asked_models,
    shadow_beside,
    shadow_of,
)
from mqd.errors import UsageError

if TYPE_CHECKING:
    from mqd.live.config import LiveConfig
    from mqd.live.trading import Traded
    from mqd.ml.shadow.tap import ShadowTap

STOPPED_BY_HAND = 130


def paper(
    config: Path,
    /,
    *,
    rehearsal: str | None = None,
    until_close: bool = False,
    models: ModelWords = MODEL_WORDS,
    shadow: ShadowWords = SHADOW_WORDS,
    json: bool = False,
) -> int:
    """Trade a configuration on its Alpaca paper account until Ctrl-C or SIGTERM.

    It starts shut: promotion record, keys, account, state folder and latches have to agree, and
    books and venue too, before the first decision. Exit code 1 when something was lost, sent twice
    or does not agree at the end, 3 when another process holds the state folder.

    Parameters
    ----------
    config
        Configuration, such as live/config/sample_paper.toml.
    rehearsal
        The endpoint is a venue on this machine that runs at this speed: 1x, 60x. A promotion
        record may then be left out.
    until_close
        End after the last bar of a session.
    json
        Print one JSON document to stdout.
    """
    from mqd.live.config import read_config
    from mqd.live.rehearsal import Pace
    from mqd.live.trading import trade

    factor = None
    if rehearsal is not None:
        factor = Pace.of(rehearsal).factor
        if factor is None:
            raise UsageError("--rehearsal max: a desk in real time needs a factor, such as 60x.")
    read = read_config(config, rehearsal=rehearsal is not None)
    _refuse_mode(read, "paper")
    if read.promotion is not None:
        _admit(read)
    with _models_of(read, models, shadow) as listener:
        traded = trade(read, factor=factor, until_close=until_close, listener=listener)
    return _told(traded, json=json)


def live(
    config: Path,
    /,
    *,
    account: str | None = None,
    until_close: bool = False,
    models: ModelWords = MODEL_WORDS,
    shadow: ShadowWords = SHADOW_WORDS,
    json: bool = False,
) -> int:
    """Trade a configuration with money, until Ctrl-C or SIGTERM.

    Beside all that 'mqd paper' asks for: the account's id, typed in full at each start, and a
    working tree without changes, so that what trades can be found again.

    Parameters
    ----------
    config
        Configuration with mode = "live".
    account
        The account's id; asked for at a terminal when left out.
    until_close
        End after the last bar of a session.
    json
        Print one JSON document to stdout.
    """
    from mqd.cli.rearm import asked
    from mqd.live.config import read_config
    from mqd.live.errors import DeskRefused
    from mqd.live.folder import account_sha256
    from mqd.live.trading import trade
    from mqd.live.tree import changes_of

    read = read_config(config)
    _refuse_mode(read, "live")
    _admit(read)
    changed = changes_of(Path(__file__).parents[2])
    if changed:
        raise DeskRefused(f"the working tree is not clean ({changed}); commit, and promote again")
    if account_sha256(asked() if account is None else account) != read.account_sha256:
        raise DeskRefused("the typed account id is not the one that account_sha256 pins")
    with _models_of(read, models, shadow) as listener:
        traded = trade(read, until_close=until_close, listener=listener)
    return _told(traded, json=json)


@contextmanager
def _models_of(
    config: LiveConfig, models: ModelWords, shadow: ShadowWords
) -> Iterator[ShadowTap | None]:
    """Hand in the champion that the strategy asks, and start the shadows beside it."""
    asked = asked_models(models, config.make_strategy(), champions_only=True, trades=True)
    beside = shadow_beside(shadow, models, shadow_of(config.state), must_start=False)
    with asked, beside as listener:
        yield listener


def _refuse_mode(config: LiveConfig, mode: str) -> None:
    if config.mode != mode:
        raise UsageError(f'{config.file} has mode = "{config.mode}": use mqd {config.mode}.')


def _admit(config: LiveConfig) -> None:
    from mqd.promotion.record import admit

    admit(config)


def _told(traded: Traded, *, json: bool) -> int:
    """Print what came of a session and return its exit code."""
    closing, parts = traded.done.closing, traded.done.desk.parts
    said = {
        "stopped": traded.stopped, "orders": len(parts.machine.states()),
        "denied": parts.gate.n_denied, "first_denial": parts.gate.first_denial,
        "fills": sum(len(state.fills) for state in parts.machine.states()),
        "breaks": list(closing.breaks),
        "duplicates": closing.duplicates, "lost_fills": closing.lost_fills,
        "killed": traded.done.killed, "log_sha256": traded.log_sha256,
    }  # fmt: skip
    if json:
        output.print_json(said)
    else:
        counts = ("orders", "denied", "fills", "duplicates", "lost_fills")
        print(f"Stopped: {traded.stopped or 'the session is over'}.")
        print(", ".join(f"{name} {said[name]}" for name in counts))
        if parts.gate.first_denial:
            print(f"First denial: {parts.gate.first_denial}")
        for line in closing.breaks:
            print(f"  {line}")
    if closing.breaks or closing.duplicates or closing.lost_fills:
        return 1
    if traded.stopped == "Ctrl-C":
        sys.stdout.flush()
        return STOPPED_BY_HAND
    return 0
