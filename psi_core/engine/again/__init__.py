"""A run's images made again: for the picture of one, and for export."""
