"""The tests run in any Python, without dockside: tests/host.py stands for it."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent

if not (PROJECT / "gen").is_dir():
    raise SystemExit("tests: run ./build once: it writes the modules that the driver imports to gen/")

sys.path[:0] = [str(PROJECT / "src"), str(PROJECT / "gen")]
