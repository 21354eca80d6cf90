"""``mqd backup``: an archive of a state folder, made while the desk may go on."""

from __future__ import annotations

from pathlib import Path

from mqd.cli import output


def backup(folder: Path, file: Path, /, *, json: bool = False) -> int:
    """Write an archive of log, store, configuration and latches, and verify it.

    Keys are in no state folder and in no archive. A desk may hold the folder.

    Parameters
    ----------
    folder
        State folder, or the configuration that names it; a run folder will do.
    file
        Archive to make (.tar.gz); refused when it exists.
    json
        Print one JSON document to stdout.
    """
    from mqd.core.clock import WallClock
    from mqd.live.backup import back_up
    from mqd.live.status import folder_named

    done = back_up(folder_named(folder), file, WallClock().now_ns())
    if json:
        output.print_json(done._asdict())
    else:
        print(
            f"{done.file}: {done.n_files} files, {done.n_bytes:,} bytes, up to record"
            f" {done.seq:,}; every hash and the log's chain verified."
        )
    return 0
