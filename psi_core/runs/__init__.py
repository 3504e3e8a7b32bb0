"""Run directories: what lies in one, how it is made, found and read, and whether its workers live.

`run` is the door for readers, `creation` for those that start one.
"""
