"""Atomic writes, CPU features, child processes, percentiles, picture files."""
