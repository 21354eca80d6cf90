"""The local venue as a process of its own: started, greeted, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

from mqd.errors import MqdError

READY_S = 60.0
END_S = 10.0
ACCOUNT_ID = "8b6f1a52-6f6d-5c1e-9e0a-2f4f0f6b7c11"


class VenueNotStarted(MqdError):
    """The venue's process ended, or said nothing, before it was ready."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The rehearsal's venue did not start: {why}")


class VenueProcess:
    """A running ``python -m mqd.venue``. ``key_id``, ``secret`` and ``token`` are thrown away."""

    def __init__(self, folder: Path, words: Mapping[str, Any]) -> None:
        self.key_id, self.secret = f"PK{os.urandom(9).hex().upper()}", os.urandom(20).hex()
        self.token = os.urandom(16).hex()
        self._errors: IO[bytes] = (folder / "venue.log").open("ab")
        config = {
            **words, "control_token": self.token, "port": words.get("port", 0),
            "accounts": [
                {"id": ACCOUNT_ID, "number": "PA0000001", "keys": [[self.key_id, self.secret]]}
            ],
        }  # fmt: skip
        file = folder / "venue.json"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(config, out, default=str)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mqd.venue", "--config", str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        try:
            self.port = self._greeting(folder / "venue.log")
        finally:
            file.unlink()

    @property
    def url(self) -> str:
        """The address of REST."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def _greeting(self, log: Path) -> int:
        """Read the line that the venue prints when it listens."""
        line: list[bytes] = []
        assert self._process.stdout is not None
        read = self._process.stdout.readline
        reader = threading.Thread(target=lambda: line.append(read()), daemon=True)
        reader.start()
        reader.join(READY_S)
        if not line or not line[0]:
            self.stop()
            told = log.read_text(errors="replace").strip().splitlines()
            raise VenueNotStarted(told[-1] if told else f"it said nothing in {READY_S:g} s")
        port: int = json.loads(line[0])["port"]
        return port

    def stop(self) -> None:
        """End the process and wait for it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
