"""``mqd replay``: rebuild a run's store from its log and compare it with the one on disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mqd.cli import output
from mqd.errors import RunFolderUnusable


def replay(run: Path, /, *, json: bool = False) -> int:
    """Rebuild a run's store from its log and compare; exit code 1 when they differ.

    Parameters
    ----------
    run
        The run folder. Nothing in it is changed.
    json
        Print one JSON document to stdout.
    """
    from mqd.log_reader import log_sha256

    if not run.is_dir():
        raise RunFolderUnusable(str(run), "there is no such folder")
    if not (run / "log").is_dir():
        raise RunFolderUnusable(
            str(run), "it has no log; only the event engine writes one (--engine event --out)"
        )
    records, differences = _compare(run)
    document = {
        "run": run,
        "records": records,
        "log_sha256": log_sha256(run),
        "equal": not differences,
        "differences": differences,
    }
    if json:
        output.print_json(document)
    else:
        verdict = "different" if differences else "equal"
        print(f"{run}: {records:,} records, log_sha256 {document['log_sha256']}")
        print(f"The store rebuilt from the log and the store on disk are {verdict}.")
        print("".join(f"  {line}\n" for line in differences), end="")
    return 1 if differences else 0


def _compare(run: Path) -> tuple[int, list[str]]:
    """Return the number of records and what differs; the run's store is read as a copy."""
    from mqd.positions.store import FILE_NAME, PositionStore

    if not (run / FILE_NAME).is_file():
        raise RunFolderUnusable(str(run), f"it has no {FILE_NAME} to compare with")
    with tempfile.TemporaryDirectory(prefix="mqd-replay-") as scratch:
        for name in (FILE_NAME, f"{FILE_NAME}-wal"):
            if (run / name).exists():
                shutil.copy(run / name, scratch)
        kept = PositionStore(Path(scratch) / FILE_NAME)
        (Path(scratch) / "rebuilt").mkdir()
        rebuilt = PositionStore.rebuild(run, into=Path(scratch) / "rebuilt")
        try:
            rebuilt.check_balance()
            differences = rebuilt.compare(kept)
            if kept.applied_seq != rebuilt.applied_seq:
                differences.append(
                    f"applied records: here {rebuilt.applied_seq}, there {kept.applied_seq}"
                )
            return rebuilt.applied_seq, differences
        finally:
            kept.close()
            rebuilt.close()
