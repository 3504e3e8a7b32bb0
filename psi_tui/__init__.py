"""psi_tui: the `psi-tui` command and the Textual app, readers of what `psi_core` writes."""
