"""Tables of a run: one file a table, all of them in `registry`; `columns` says what a column is, without numpy."""
