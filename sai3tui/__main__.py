"""`python -m sai3tui`."""

from __future__ import annotations

import sys

from sai3tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
