"""Pictures in the terminal's own pixels: what it can, asked once, and the two ways to bring a picture there."""
