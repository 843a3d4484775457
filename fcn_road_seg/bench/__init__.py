"""Timings of networks, pipelines and the live node."""
