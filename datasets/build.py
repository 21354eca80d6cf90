"""Rebuild datasets from the pinned archives: python datasets/build.py [NAME ...]; none is all."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mqd.errors import MqdError
from mqd.market_data import datasets


def main(names: list[str]) -> int:
    """Build, print one line a file, return the exit code."""
    try:
        for record in datasets.build(names or None, progress=print):
            print(f"{record['file']} {record['bytes']} bytes, as the manifest says")
    except MqdError as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
