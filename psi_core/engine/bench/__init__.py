"""The bench: times the engine beside the floor and the usual way, and over images, layers, epsilons and workers.

Runs import nothing of it.
"""
