"""``mqd restore``: a state folder from its archive, verified before anything is used."""

from __future__ import annotations

from pathlib import Path

from mqd.cli import output


def restore(file: Path, folder: Path, /, *, json: bool = False) -> int:
    """Make a state folder from an archive: hashes and log verified, store brought level.

    What the account did after the backup is not in it: a desk that starts on the folder learns
    it from the broker before it trades. Latches that were set are set again.

    Parameters
    ----------
    file
        Archive that 'mqd backup' made.
    folder
        Folder to make; refused when it exists.
    json
        Print one JSON document to stdout.
    """
    from mqd.live.backup import restore as make

    done = make(file, folder)
    if json:
        output.print_json({"folder": folder} | done._asdict())
    else:
        print(f"{folder}: {done.n_files} files, up to record {done.seq:,}; the store is level.")
    return 0
