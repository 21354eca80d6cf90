"""Makes ``rule_zoo`` importable by name, here and from the snippets that the tests run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
