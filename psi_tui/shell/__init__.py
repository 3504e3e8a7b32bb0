"""What commands print: bars, tables, scripts."""
