"""The self-test: whether this machine and its device compute what a run promises, and how fast.

Runs import nothing of it.
"""
