import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from fcn_road_seg.datasets.frames import DatasetError, find_images, limit_size
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import grey, write_image, write_kitti_road


@pytest.fixture
def kitti(tmp_path):
    return write_kitti_road(tmp_path)


def test_frame_without_label_is_named(kitti):
    missing = kitti / 'training/gt_image_2/um_road_000003.png'
    missing.unlink()
    expected = re.escape(f'um_000003.png has no label; {missing}')
    with pytest.raises(DatasetError, match=expected):
        find_frames(kitti, 'train')


def test_frame_that_is_no_image_is_named(kitti):
    (kitti / 'training/image_2/um_000000.png').write_bytes(b'not a picture')
    with pytest.raises(DatasetError, match=r'um_000000.png cannot be read: .* nor PNG; replace'):
        find_frames(kitti, 'train')[0].load()


@pytest.fixture
def photo(tmp_path):
    """Return the path of a JPEG whose lower half is bright, beside a mask of that half."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[32:] = 200
    exif = Image.Exif()
    # Viewers turn the picture upside down.
    exif[0x112] = 3
    (tmp_path / 'images').mkdir()
    Image.fromarray(pixels).save(tmp_path / 'images/a.jpg', exif=exif)
    write_image(tmp_path / 'masks/a.png', np.where(pixels[..., 0] > 0, 255, 0))
    return tmp_path / 'images/a.jpg'


def test_frame_that_is_cut_off_is_named(photo):
    data = photo.read_bytes()
    photo.write_bytes(data[: len(data) - 20])
    with pytest.raises(DatasetError, match=r'a\.jpg cannot be read: JPEG data .* is cut off'):
        find_frames(photo.parents[1], 'all')[0].load()


def test_frame_is_not_turned_by_exif_as_its_label_is_not(photo):
    frame_rgb, label = find_frames(photo.parents[1], 'all')[0].load()
    assert np.array_equal(frame_rgb[..., 0] > 100, label == ROAD)


def test_label_of_another_size_is_named(kitti):
    write_image(kitti / 'training/gt_image_2/um_road_000000.png', np.zeros((3, 6, 3)))
    with pytest.raises(DatasetError, match=r'um_road_000000.png is \(3, 6\) .* its frame'):
        find_frames(kitti, 'train')[0].load()


def test_label_with_an_unknown_value_is_named(tmp_path):
    write_image(tmp_path / 'images/a.png', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'masks/a.png', grey(7))
    with pytest.raises(DatasetError, match=r'a\.png: label value 7 is unknown'):
        find_frames(tmp_path, 'train')[0].load()


def test_reduced_labels_are_never_interpolated():
    label = np.random.default_rng(0).choice(np.uint8([BACKGROUND, ROAD, VOID]), (90, 120))
    frame_rgb = np.zeros((90, 120, 3), np.uint8)
    small_rgb, small = limit_size(frame_rgb, label, max_pixels=30 * 40)
    assert small.shape == small_rgb.shape[:2] == (30, 40)
    assert set(np.unique(small)) <= {BACKGROUND, ROAD, VOID}


def test_small_frames_are_not_enlarged():
    frame_rgb, label = np.zeros((9, 12, 3), np.uint8), np.zeros((9, 12), np.uint8)
    assert limit_size(frame_rgb, label, max_pixels=10_000)[1] is label


def test_label_of_two_frames_is_refused(tmp_path):
    for suffix in ('png', 'jpg'):
        write_image(tmp_path / f'images/a.{suffix}', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'masks/a.png', grey(255))
    with pytest.raises(DatasetError, match=r'a\.jpg and .*a\.png have the same label, .*a\.png'):
        find_frames(tmp_path, 'all')


def test_palette_label_is_named_as_such_with_the_remedy(tmp_path):
    write_image(tmp_path / 'images/a.png', np.zeros((4, 6, 3)))
    (tmp_path / 'masks').mkdir()
    indices = PIL.Image.fromarray(grey(1))
    indices.putpalette([0, 0, 0, 128, 64, 128])
    indices.save(tmp_path / 'masks/a.png')
    with pytest.raises(DatasetError, match=r'a\.png: a palette PNG, .* with Pillow: Image\.from'):
        find_frames(tmp_path, 'train')[0].load()
    # The remedy that the message gives.
    PIL.Image.fromarray(np.array(PIL.Image.open(tmp_path / 'masks/a.png'))).save(
        tmp_path / 'masks/a.png'
    )
    assert (find_frames(tmp_path, 'train')[0].load()[1] == ROAD).all()


def test_images_of_linked_folders_are_found(tmp_path):
    write_image(tmp_path / 'disk/b.png', grey(0))
    (tmp_path / 'images').mkdir()
    write_image(tmp_path / 'images/a.png', grey(0))
    (tmp_path / 'images/more').symlink_to(tmp_path / 'disk')
    (tmp_path / 'images/c.png').symlink_to(tmp_path / 'disk/b.png')
    found = [
        str(path.relative_to(tmp_path / 'images')) for path in find_images(tmp_path / 'images')
    ]
    assert found == ['a.png', 'c.png', 'more/b.png']


@pytest.mark.parametrize(
    'hidden', ['._a.png', '.ipynb_checkpoints/a-checkpoint.png', '.b/._a.png']
)
def test_names_that_begin_with_a_dot_are_skipped(tmp_path, hidden):
    write_image(tmp_path / 'a.png', grey(0))
    (tmp_path / hidden).parent.mkdir(exist_ok=True)
    (tmp_path / hidden).write_bytes(b'of the system')
    assert find_images(tmp_path) == [tmp_path / 'a.png']


def test_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / 'a.png').symlink_to(tmp_path / 'gone.png')
    with pytest.raises(DatasetError, match=r'a\.png is not a file, or a link to none'):
        find_images(tmp_path)


def test_link_to_a_folder_above_is_named(tmp_path):
    write_image(tmp_path / 'images/a.png', grey(0))
    (tmp_path / 'images/again').symlink_to(tmp_path / 'images')
    with pytest.raises(DatasetError, match='again is a link to a folder that contains it'):
        find_images(tmp_path / 'images')


def test_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write_image(tmp_path / 'images/a.png', grey(0))
    locked = tmp_path / 'images/locked'
    locked.mkdir()
    iterdir = Path.iterdir

    # Root, who may list every folder, runs the tests in a container.
    def refuse(folder):
        if folder == locked:
            raise PermissionError(13, 'Permission denied', str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, 'iterdir', refuse)
    with pytest.raises(DatasetError, match=r'locked cannot be read \(Permission denied\)'):
        find_images(tmp_path / 'images')
