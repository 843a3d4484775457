"""Labelled frames on disk, one module a format, and KITTI sequences."""
