import numpy as np
import pytest

from fcn_road_seg.datasets.label_folder import atomic_label_folder
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.datasets.voc_folder import VocFolder
from fcn_road_seg.utils.picture import encode_png


def frame_and_mask(seed=0):
    rng = np.random.default_rng(seed)
    frame_bgr = rng.integers(0, 256, (20, 30, 3), np.uint8)
    return frame_bgr, rng.integers(0, 2, (20, 30), np.uint8) * 255


def test_frames_and_masks_are_read_back_as_they_were(tmp_path):
    frames = [frame_and_mask(seed) for seed in range(3)]
    with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
        for number, (frame_bgr, mask) in enumerate(frames):
            folder.add(f'f{number}', encode_png(frame_bgr), '.png', mask)
    found = find_frames(tmp_path / 'out', 'all')
    assert [frame.name for frame in found] == ['f0', 'f1', 'f2']
    for frame, (frame_bgr, mask) in zip(found, frames, strict=True):
        frame_rgb, label = frame.load()
        assert np.array_equal(frame_rgb, frame_bgr[..., ::-1])
        assert np.array_equal(label, mask // 255)


def test_files_are_where_cvat_looks_for_them(tmp_path):
    with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
        folder.add('a', b'jpeg', '.jpg', frame_and_mask()[1])
    out = tmp_path / 'out'
    assert {str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()} == {
        *('labelmap.txt', 'JPEGImages/a.jpg', 'SegmentationClass/a.png'),
        *('ImageSets/Segmentation/default.txt', 'SegmentationObject/a.png'),
    }
    assert (out / 'JPEGImages/a.jpg').read_bytes() == b'jpeg'
    assert (out / 'ImageSets/Segmentation/default.txt').read_text() == 'a\n'
    assert (out / 'labelmap.txt').read_text().splitlines()[1:] == [
        'background:0,0,0::',
        'road:128,64,128::',
    ]


def test_datumaro_by_which_cvat_imports_reads_the_masks(tmp_path):
    datumaro = pytest.importorskip('datumaro', reason='datumaro is not installed')
    frame_bgr, mask = frame_and_mask()
    with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
        folder.add('a', encode_png(frame_bgr), '.png', mask)
    dataset = datumaro.Dataset.import_from(str(tmp_path / 'out'), 'voc_segmentation')
    (item,) = dataset
    assert item.id == 'a'
    labels = dataset.categories()[datumaro.AnnotationType.label]
    road = labels.find('road')[0]
    # The background is no region that somebody would have to correct.
    (region,) = item.annotations
    assert region.label == road
    assert np.array_equal(region.image, mask > 0)
