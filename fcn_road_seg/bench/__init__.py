"""Timings of the networks, of the segmenter around them, and of the live node."""
