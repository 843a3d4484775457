"""Labelled frames on disk, one module per format, and KITTI sequences."""
