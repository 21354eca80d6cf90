"""``python -m mqd.venue --config FILE.json``."""

import sys

from mqd.venue.process import main

sys.exit(main(sys.argv[1:]))
