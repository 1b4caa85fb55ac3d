"""What scripts/bench.py measures: one file a kind of measurement, and table.py with a line for each row."""
