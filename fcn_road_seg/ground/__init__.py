"""Pixels and points of flat ground: cameras, mountings, look-up tables, the road's corridor."""
