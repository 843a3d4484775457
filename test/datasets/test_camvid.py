import numpy as np

from fcn_road_seg.datasets.camvid import camvid_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import grey, write_image


def test_camvid_label_is_road_by_index_3_void_by_11():
    expected = [BACKGROUND] * 3 + [ROAD] + [BACKGROUND] * 7 + [VOID]
    assert camvid_label(np.arange(12, dtype=np.uint8)[None]).tolist() == [expected]


def test_camvid_has_its_own_split(tmp_path):
    for split, count in (('train', 3), ('val', 2)):
        for i in range(count):
            write_image(tmp_path / split / f'drive_{i}.png', np.zeros((4, 6, 3)))
            write_image(tmp_path / f'{split}annot' / f'drive_{i}.png', grey(3))
    assert len(find_frames(tmp_path, 'train')) == 3
    (frame, _) = find_frames(tmp_path, 'val')
    assert (frame.load()[1] == ROAD).all()
    assert (frame.load_raw_label() == 3).all()
    assert frame.classes[3] == 'road'
    assert frame.classes[11] == 'unlabelled'


def test_camvid_frame_in_a_subfolder_has_the_label_of_that_subfolder(tmp_path):
    for name, value in (('a', 0), ('0006R0/a', 3)):
        write_image(tmp_path / f'train/{name}.png', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'trainannot/{name}.png', grey(value))
    below, above = find_frames(tmp_path, 'train')
    assert (below.load()[1] == ROAD).all()
    assert (above.load()[1] == BACKGROUND).all()
