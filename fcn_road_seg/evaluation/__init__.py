"""How good masks are: the KITTI road measure, IoU, reports."""
