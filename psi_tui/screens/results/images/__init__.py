"""Every image of a run, and one image looked at."""
