"""The commands of `psi-tui`, one idea a file; each reads its words, asks `psi_core`, and shows the answer."""
