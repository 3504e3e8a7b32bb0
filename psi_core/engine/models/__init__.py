"""Models: where networks and weights come from, their layers, and the taps on them."""
