"""What scripts/demo.py and scripts/bench.py share. Standard library only."""
