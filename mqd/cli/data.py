"""``mqd data``: the datasets of this checkout, whether they are whole, and how to rebuild them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from mqd.cli import output

CONTENT_WIDTH = 72


def list_datasets(*, json: bool = False) -> int:
    """List the datasets and what they hold.

    Parameters
    ----------
    json
        Print one JSON document to stdout.
    """
    from mqd.market_data import datasets

    records = datasets.listing()
    if json:
        output.print_json({"datasets": records})
        return 0
    width = max(len(record["name"]) for record in records)
    for record in records:
        state = "here" if record["present"] else "to be built"
        size = f"{record['rows']:>9,} rows {record['bytes'] / 1e6:>6.1f} MB"
        content = textwrap.shorten(record["content"], CONTENT_WIDTH, placeholder=" …")
        print(f"{record['name']:<{width}}  {size}  {state:<11}  {content}")
    return 0


def verify(*names: str, folder: Path | None = None, json: bool = False) -> int:
    """Recompute hashes and quality of the datasets; exit code 1 on any change.

    Parameters
    ----------
    names
        Datasets; all committed and all built ones when left out.
    folder
        The datasets folder; that of this checkout when left out.
    json
        Print one JSON document to stdout.
    """
    from mqd.market_data import datasets

    records = datasets.verify(list(names) or None, folder)
    if json:
        output.print_json({"ok": True, "datasets": records})
        return 0
    for record in records:
        print(f"ok  {record['file']}  {record['rows']:,} rows  sha256 {record['sha256']}")
    print(f"{len(records)} datasets are as the manifest says.")
    return 0


def build(
    *names: str, out: Path | None = None, cache: Path | None = None, json: bool = False
) -> int:
    """Rebuild datasets, byte for byte, from the pinned packages of your registry.

    Parameters
    ----------
    names
        Datasets; all of the manifest when left out.
    out
        Folder of the files; datasets/built when left out.
    cache
        Folder of the downloaded archives; datasets/cache when left out.
    json
        Print one JSON document to stdout.
    """
    from mqd.market_data import datasets

    records = datasets.build(list(names) or None, out, cache, output.say)
    if json:
        output.print_json({"datasets": records})
        return 0
    for record in records:
        print(f"{record['file']}  {record['bytes']:,} bytes  sha256 {record['sha256']}")
    return 0
