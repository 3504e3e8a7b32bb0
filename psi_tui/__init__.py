"""psi_tui: the `psi-tui` command and the Textual app, readers of what `psi_core` writes."""

import psi_core  # noqa: F401 - first of all: it takes the current folder off the path of imports
