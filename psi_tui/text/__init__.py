"""Numbers and cells as text, the same for every screen and table."""
