"""VOC exports: labelme's palette PNGs, CVAT's colours."""

import numpy as np
import pytest
from PIL import Image

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import write_image

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *[0] * (253 * 3)]


def write_palette(path, index):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.uint8(index), mode='P')
    image.putpalette(PALETTE)
    image.save(path)


@pytest.fixture
def labelme(tmp_path):
    write_image(tmp_path / 'JPEGImages/a.jpg', np.zeros((1, 4, 3)))
    write_palette(tmp_path / 'SegmentationClass/a.png', [[0, 1, 2, 255]])
    (tmp_path / 'class_names.txt').write_text('_background_\nroad\ncar')
    return tmp_path


@pytest.fixture
def cvat(tmp_path):
    write_image(tmp_path / 'JPEGImages/a.png', np.zeros((1, 3, 3)))
    colours_bgr = np.uint8([[(0, 0, 0), (128, 64, 128)[::-1], (142, 0, 0)]])
    write_image(tmp_path / 'SegmentationClass/a.png', colours_bgr)
    (tmp_path / 'labelmap.txt').write_text(
        '# label:color_rgb:parts:actions\n'
        'background:0,0,0::\n\nroad:128,64,128::\ncar:0,0,142::\n\n'
    )
    return tmp_path


def test_palette_index_of_the_class_called_road_is_road_and_255_void(labelme):
    (frame,) = find_frames(labelme, 'all')
    assert frame.load()[1].tolist() == [[BACKGROUND, ROAD, BACKGROUND, VOID]]


def test_classes_of_the_export_name_its_indices(labelme):
    (frame,) = find_frames(labelme, 'all')
    assert frame.classes == ('_background_', 'road', 'car')
    assert frame.load_raw_label().tolist() == [[0, 1, 2, 255]]


def test_ignored_class_of_labelme_has_no_index(labelme):
    (labelme / 'class_names.txt').write_text('__ignore__\n_background_\nroad\ncar\n')
    (frame,) = find_frames(labelme, 'all')
    assert frame.load()[1].tolist() == [[BACKGROUND, ROAD, BACKGROUND, VOID]]


def test_index_beyond_the_classes_is_named_with_its_file(labelme):
    write_palette(labelme / 'SegmentationClass/a.png', [[0, 1, 3, 255]])
    with pytest.raises(DatasetError, match=r'a\.png: label value 3 is unknown'):
        find_frames(labelme, 'all')[0].load()


def test_colours_of_cvat_are_classes_by_its_label_map(cvat):
    (frame,) = find_frames(cvat, 'all')
    assert frame.load()[1].tolist() == [[BACKGROUND, ROAD, BACKGROUND]]


def test_colour_that_no_class_has_is_named(cvat):
    write_image(cvat / 'SegmentationClass/a.png', np.uint8([[(1, 2, 3)] * 3]))
    with pytest.raises(DatasetError, match=r'a\.png has the colour \(3, 2, 1\) \(RGB\)'):
        find_frames(cvat, 'all')[0].load()


def test_export_without_a_class_called_road_lists_those_it_has(labelme):
    (labelme / 'class_names.txt').write_text('_background_\ncarriageway\ncar\n')
    with pytest.raises(
        DatasetError, match="_background_, carriageway, car; one must be called 'r"
    ):
        find_frames(labelme, 'all')


def test_export_without_its_classes_says_which_file_is_missing(labelme):
    (labelme / 'class_names.txt').unlink()
    with pytest.raises(DatasetError, match=r'neither class_names\.txt \(labelme\) nor labelmap'):
        find_frames(labelme, 'all')


def test_line_of_the_label_map_that_cannot_be_read_is_shown(cvat):
    (cvat / 'labelmap.txt').write_text('road:128,64\n')
    with pytest.raises(DatasetError, match="'road:128,64' is not name:r,g,b:parts:actions"):
        find_frames(cvat, 'all')


def test_colours_where_a_palette_is_expected_are_refused(labelme):
    write_image(labelme / 'SegmentationClass/a.png', np.zeros((1, 4, 3)))
    with pytest.raises(DatasetError, match=r'has colours \(mode RGB\) and no palette'):
        find_frames(labelme, 'all')[0].load()


def test_masks_of_drives_whose_frames_have_the_same_names_stay_with_their_drives(cvat):
    for drive, colour_bgr in (('drive_a', (128, 64, 128)), ('drive_b', (0, 0, 0))):
        write_image(cvat / 'JPEGImages' / drive / '0.jpg', np.zeros((1, 1, 3)))
        write_image(cvat / 'SegmentationClass' / drive / '0.png', [[colour_bgr]])
    road, background = find_frames(cvat, 'all')[1:]
    assert road.frame_path == cvat / 'JPEGImages/drive_a/0.jpg'
    assert road.load()[1].tolist() == [[ROAD]]
    assert background.frame_path == cvat / 'JPEGImages/drive_b/0.jpg'
    assert background.load()[1].tolist() == [[BACKGROUND]]


def test_two_frames_with_one_mask_are_refused_and_named(cvat):
    write_image(cvat / 'JPEGImages/a.jpg', np.zeros((1, 3, 3)))
    with pytest.raises(DatasetError, match=r'a\.jpg and .*a\.png have the same label, .*a\.png;'):
        find_frames(cvat, 'all')


def test_mask_without_its_frame_is_named(labelme):
    write_palette(labelme / 'SegmentationClass/b.png', [[0]])
    with pytest.raises(DatasetError, match=r'b\.png has no frame in'):
        find_frames(labelme, 'all')


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
def test_mask_that_is_cut_off_is_named(labelme, share):
    path = labelme / 'SegmentationClass/a.png'
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match=r'a\.png cannot be read: PNG data .* is cut off'):
        find_frames(labelme, 'all')[0].load()


def test_bit_flipped_anywhere_in_a_palette_mask_is_noticed_or_has_no_effect(labelme):
    path = labelme / 'SegmentationClass/a.png'
    whole = path.read_bytes()
    (frame,) = find_frames(labelme, 'all')
    index = frame.load_raw_label().tolist()
    refused = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = frame.load_raw_label().tolist()
        except DatasetError:
            refused += 1
        else:
            assert found == index
    # Only the checksum at the very end may be wrong.
    assert refused >= 8 * (len(whole) - 4)


@pytest.mark.parametrize('kind', ['EPS', 'TIFF', 'GIF'])
def test_mask_of_another_format_is_refused_whatever_its_name_says(labelme, kind):
    path = labelme / 'SegmentationClass/a.png'
    with path.open('wb') as file:
        Image.fromarray(np.zeros((1, 4), np.uint8)).save(file, kind)
    with pytest.raises(DatasetError, match=r'a\.png cannot be read: .* neither JPEG nor PNG'):
        find_frames(labelme, 'all')[0].load()


def test_palette_mask_that_claims_a_huge_size_is_refused_before_decoding(labelme):
    path = labelme / 'SegmentationClass/a.png'
    Image.fromarray(np.zeros((8001, 8000), np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r'a\.png cannot be read: size 8000 x 8001 is outside'):
        find_frames(labelme, 'all')[0].load()


@pytest.mark.parametrize('rgb', ['300,0,0', '-1,0,0', '9' * 30 + ',0,0', '1,2', '1,2,x'])
def test_colour_that_is_none_is_refused_with_its_line(cvat, rgb):
    (cvat / 'labelmap.txt').write_text(f'road:{rgb}::\n')
    with pytest.raises(DatasetError, match=rf"labelmap\.txt: 'road:{rgb}::' is not name:r,g,b"):
        find_frames(cvat, 'all')


@pytest.mark.parametrize('name', ['class_names.txt', 'labelmap.txt'])
def test_list_of_classes_that_is_not_utf8_is_named(cvat, name):
    (cvat / name).write_bytes(b'\xff\xferoad')
    with pytest.raises(DatasetError, match=f'{name} is not UTF-8 text'):
        find_frames(cvat, 'all')


def test_more_classes_than_a_mask_can_number_are_refused(labelme):
    classes = [*map(str, range(254)), 'road']
    (labelme / 'class_names.txt').write_text('\n'.join(classes))
    assert find_frames(labelme, 'all')[0].classes == tuple(classes)
    # Of one more, the last, road, would be 255, which is void.
    (labelme / 'class_names.txt').write_text('\n'.join(['more', *classes]))
    with pytest.raises(DatasetError, match='has 256 classes; a mask has at most 255'):
        find_frames(labelme, 'all')
