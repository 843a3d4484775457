import numpy as np

from fcn_road_seg.datasets.rendered import RenderedFrame, find_rendered_frames, rendered_frames
from fcn_road_seg.synthetic import SyntheticDrive


def test_rendered_frames_are_rgb_and_change_with_the_seed():
    frames = [frame for frame, _ in rendered_frames(5, 7, 'test')]
    again = [frame for frame, _ in rendered_frames(1, 7, 'test')]
    frame_bgr, _ = SyntheticDrive(7, frames[0].shape[:2]).render(t_s=0.0)
    assert np.array_equal(frames[0], frame_bgr[..., ::-1])
    assert np.array_equal(frames[0], again[0])
    assert frames[4].shape != frames[0].shape or not np.array_equal(frames[4], frames[0])


def test_each_drive_gives_four_frames_far_apart_and_has_the_size_of_another_camera():
    # Other frames would make the numbers in the documentation wrong.
    assert find_rendered_frames(18, 7) == [
        *(RenderedFrame(7, (375, 1242), t_s) for t_s in (0.0, 7.0, 14.0, 21.0)),
        *(RenderedFrame(8, (360, 480), t_s) for t_s in (0.0, 7.0, 14.0, 21.0)),
        *(RenderedFrame(9, (240, 320), t_s) for t_s in (0.0, 7.0, 14.0, 21.0)),
        *(RenderedFrame(10, (288, 512), t_s) for t_s in (0.0, 7.0, 14.0, 21.0)),
        *(RenderedFrame(11, (375, 1242), t_s) for t_s in (0.0, 7.0)),
    ]
