"""``mqd`` in a process whose every restart writes a checkpoint, however little has happened."""

from __future__ import annotations

import sys
from functools import partial

from mqd.cli.main import main
from mqd.live import builder
from mqd.live.checkpoints import Checkpoints

if __name__ == "__main__":
    builder.Checkpoints = partial(Checkpoints, tail_min=1)
    sys.exit(main(sys.argv[1:]))
