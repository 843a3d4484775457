"""Atomic writes, child processes, CPU features, near names, percentiles, pictures, sampling."""
