"""Runs as they are watched: the list, an open one, progress, GPUs."""
