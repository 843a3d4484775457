import numpy as np

from fcn_road_seg.datasets.rendered import rendered_frames
from fcn_road_seg.synthetic import SyntheticDrive


def test_rendered_frames_are_rgb_and_change_with_the_seed():
    frames = [frame for frame, _ in rendered_frames(5, 7, 'test')]
    again = [frame for frame, _ in rendered_frames(1, 7, 'test')]
    frame_bgr, _ = SyntheticDrive(7, frames[0].shape[:2]).render(t_s=0.0)
    assert np.array_equal(frames[0], frame_bgr[..., ::-1])
    assert np.array_equal(frames[0], again[0])
    assert frames[4].shape != frames[0].shape or not np.array_equal(frames[4], frames[0])
