"""``mqd`` in a process whose disk fills up while the log writes its n-th fill.

``python full_disk_desk.py KIND N WORDS...``: KIND is "reserve" (the disk is full until the reserve
is given back) or "limit" (from then on the kernel lets no file of this process grow: the record is
torn in its middle, and nothing helps).
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from pathlib import Path

from mqd.cli.main import main
from mqd.log_files import SystemCalls


class FillingDisk:
    """Writes of the log until its n-th fill; then the disk is full."""

    def __init__(self, kind, n_fills):
        self.kind, self.left = kind, n_fills
        self.is_full = False

    def write(self, fd, data):
        """Write as the disk of ``kind`` does."""
        self.left -= b'"kind":"fill","ts":' in data
        if self.left == 0 and not self.is_full:
            self.is_full = True
            size = os.fstat(fd).st_size
            if self.kind == "limit":
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + len(data) // 2, hard))
        if self.is_full and self.kind == "reserve":
            log = Path(f"/proc/self/fd/{fd}").readlink()
            if (log.parent.parent / "reserve").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, data)


if __name__ == "__main__":
    disk = FillingDisk(sys.argv[1], int(sys.argv[2]))
    SystemCalls.write = staticmethod(disk.write)
    sys.exit(main(sys.argv[3:]))
