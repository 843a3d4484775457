"""Rendered driving scenes with exact road labels, for the demo, tests and training."""

from fcn_road_seg.synthetic.drive import SyntheticDrive

__all__ = ['SyntheticDrive']
