"""Statistics of a run's numbers; arrays in, numbers out.

Paired differences, histograms, classes, detectors, verdicts.
"""
