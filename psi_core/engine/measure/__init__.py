"""Measures: the sums of a layer as it fires, the measures of these, and the step that takes them all."""
