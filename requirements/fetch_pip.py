"""pip for a Python that has neither ensurepip nor pip: one pinned, hash-checked wheel.

Read from the user's own registry (``PIP_INDEX_URL`` or a pip.conf). Standard library only; used by
``install.py`` when nothing else is there.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import ssl
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import Request, urlopen

CONFIGS = ("~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf")


class Links(HTMLParser):
    """Collects the links of an index page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of each ``<a href>``."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def index() -> str:
    """Return the registry that the user has named; ``ValueError`` when there is none."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    named = os.environ.get("PIP_CONFIG_FILE")
    for file in [*([named] if named else []), *CONFIGS]:
        config = configparser.RawConfigParser()
        config.read(Path(file).expanduser(), encoding="utf-8")
        for section in ("install", "global"):
            if url := config.get(section, "index-url", fallback=""):
                return url
    raise ValueError("no registry is named: set PIP_INDEX_URL to the address of yours")


def get(url: str) -> bytes:
    """Return what the registry has at ``url``; ``PIP_CERT`` names its certificates."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError(f"{url} is no web address")
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    request = Request(url, headers={"Accept": "text/html"})
    with urlopen(request, timeout=60, context=context) as answer:
        content: bytes = answer.read()
    return content


def wheel(lock: Path, folder: Path) -> Path:
    """Download the wheel that ``lock`` pins into ``folder`` and return its path.

    Raises ``ValueError`` when the registry has no such file or another content, and ``OSError``
    when it cannot be reached.
    """
    text = lock.read_text(encoding="utf-8")
    version = re.findall(r"^pip==(\S+)", text, re.MULTILINE)[0]
    name = f"pip-{version}-py3-none-any.whl"
    page = index().rstrip("/") + "/pip/"
    links = Links()
    links.feed(get(page).decode("utf-8", "replace"))
    urls = [urljoin(page, link) for link in links.found]
    matching = [url for url in urls if unquote(urlsplit(url).path).endswith(f"/{name}")]
    if not matching:
        raise ValueError(f"{page} has no {name}")
    content = get(matching[0])
    if hashlib.sha256(content).hexdigest() not in re.findall(r"sha256:([0-9a-f]{64})", text):
        raise ValueError(f"{name} from {page} is not the pinned file")
    path = folder / name
    path.write_bytes(content)
    return path
