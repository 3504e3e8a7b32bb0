"""Measures: what they are, the sums of a layer as it fires, and the step that takes them all in one pass."""
