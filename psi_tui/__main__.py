"""`python -m psi_tui`: the command, where its script is not on the path."""

import sys

from psi_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
