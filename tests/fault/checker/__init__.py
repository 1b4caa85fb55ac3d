"""The history checker: what clients of a fleet saw under faults, judged by what the fleet promises. See run.py."""
