import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from fcn_road_seg.commands import export_labels
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import Checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule

COUNT = 6


@pytest.fixture(scope='module')
def frames_bgr():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT, 8, 12, 3), np.uint8)
    return [cv2.resize(pixels, (96, 64), interpolation=cv2.INTER_CUBIC) for pixels in coarse]


@pytest.fixture(scope='module')
def images(frames_bgr, tmp_path_factory):
    """A folder of images, one of them in a subfolder."""
    folder = tmp_path_factory.mktemp('images')
    (folder / 'sub').mkdir()
    for number, frame_bgr in enumerate(frames_bgr):
        cv2.imwrite(str(folder / ('sub' if number == 5 else '') / f'{number}.png'), frame_bgr)
    return folder


@pytest.fixture(scope='module')
def checkpoint_path(random_model, frames_bgr, tmp_path_factory):
    """A random network that takes half of the pixels for road."""
    frames = torch.from_numpy(np.stack(frames_bgr)[..., ::-1].copy()).permute(0, 3, 1, 2)
    threshold = float(random_model(frames)[:, 1].median())
    path = tmp_path_factory.mktemp('checkpoint') / 'half.safetensors'
    save_checkpoint(Checkpoint(random_model, InputRule(pixels=64 * 96), threshold), path)
    return path


@pytest.fixture
def options(checkpoint_path):
    return ['--checkpoint', str(checkpoint_path), '--device', 'cpu', '--backend', 'torch']


def expected_mask(frame_bgr, checkpoint_path):
    segmenter = RoadSegmenter(checkpoint_path, 'cpu', 'float32', backend='torch')
    return segmenter(frame_bgr).mask


def test_folder_comes_back_as_a_data_set_with_the_masks_of_the_network(
    images, frames_bgr, checkpoint_path, options, tmp_path, capsys
):
    out = tmp_path / 'out'
    options = [*options, '--precision', 'float32']
    assert export_labels.main([str(images), str(out), *options]) == 0
    assert capsys.readouterr().out == f'{out}: {COUNT} of {COUNT} frames written\n'
    found = find_frames(out, 'all')
    assert [frame.name for frame in found] == ['0', '1', '2', '3', '4', 'sub_5']
    masks = [expected_mask(frame_bgr, checkpoint_path) for frame_bgr in frames_bgr]
    assert 0 < np.mean(masks) < 255
    for frame, frame_bgr, mask in zip(found, frames_bgr, masks, strict=True):
        frame_rgb, label = frame.load()
        assert np.array_equal(frame_rgb, frame_bgr[..., ::-1])
        assert np.array_equal(label, mask // 255)


def test_label_that_somebody_corrects_is_what_training_reads(images, options, tmp_path):
    out = tmp_path / 'out'
    export_labels.main([str(images), str(out), *options])
    # As CVAT exports it: a palette or colours of the label map, here the left half road.
    mask_bgr = np.zeros((64, 96, 3), np.uint8)
    mask_bgr[:, :48] = (128, 64, 128)
    cv2.imwrite(str(out / 'SegmentationClass/3.png'), mask_bgr)
    (corrected,) = [frame for frame in find_frames(out, 'all') if frame.name == '3']
    _, label = corrected.load()
    assert np.array_equal(label, np.arange(96)[None].repeat(64, 0) < 48)


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_labelling_tools_which_turn_photos_by_exif_show_a_frame_as_its_mask_is(
    frames_bgr, options, tmp_path, suffix, orientation
):
    (tmp_path / 'photos').mkdir()
    photo, out = tmp_path / f'photos/a{suffix}', tmp_path / 'out'
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(frames_bgr[0]).save(photo, exif=exif)
    stored = np.asarray(Image.open(photo))
    assert export_labels.main([str(photo.parent), str(out), *options]) == 0
    (written,) = (out / 'JPEGImages').iterdir()
    shown = np.asarray(ImageOps.exif_transpose(Image.open(written)))
    assert np.array_equal(shown, stored)
    assert shown.shape == cv2.imread(str(out / 'SegmentationClass/a.png')).shape
    # Without a turn, the file is a copy.
    assert (written.read_bytes() == photo.read_bytes()) == (orientation == 1)


def test_bags_and_folders_are_read_together_and_the_least_sure_frames_are_picked(
    images, frames_bgr, options, tmp_path, monkeypatch, capsys
):
    camera_bags = pytest.importorskip('test.helpers.camera_bags', reason='rclpy is not installed')
    topics = {'/camera/image': camera_bags.raw_msgs(frames_bgr, 'rgb8'), '/odd': [b'damaged']}
    bag = camera_bags.write_bag(tmp_path / 'drive', topics)
    entropies = iter([0.1, 0.2, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1])
    monkeypatch.setattr('fcn_road_seg.bags.label_export.edge_entropy', lambda *_: next(entropies))
    out = tmp_path / 'out'
    assert export_labels.main([str(images), str(bag), str(out), '--pick', '2', *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f'{out}: 2 of 12 frames written'
    assert printed[0].startswith(f'bad: 1 x {bag}: ')
    first, second = find_frames(out, 'all')
    assert first.name == '2'
    assert second.name.startswith('drive_camera_image_1317046453')
    assert np.array_equal(second.load()[0], frames_bgr[3][..., ::-1])


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('no', 'does not exist; give a bag or a folder of images'),
        ('0.png', 'is not a bag; give a bag, or the folder that holds the images'),
        (
            'drives',
            'holds no image (.png, .jpg, .jpeg) and is not a bag; give bags one by one, or a '
            'folder of images',
        ),
    ],
)
def test_input_that_is_neither_is_said_before_the_others_are_read(
    images, options, tmp_path, capsys, name, text
):
    (tmp_path / '0.png').touch()
    (tmp_path / 'drives/a').mkdir(parents=True)
    (tmp_path / 'drives/a/metadata.yaml').touch()
    (tmp_path / 'drives/b.mcap').touch()
    with pytest.raises(SystemExit) as ended:
        export_labels.main([str(images), str(tmp_path / name), str(tmp_path / 'out'), *options])
    assert ended.value.code == f'export_labels: {tmp_path / name} {text}'
    assert not (tmp_path / 'out').exists()
    # No progress bar.
    assert capsys.readouterr().err == ''


def test_bag_of_ros_1_is_refused_with_the_command_that_converts_it(options, tmp_path):
    (tmp_path / 'a.bag').touch()
    with pytest.raises(SystemExit, match=r'a\.bag is a ROS 1 bag; convert it: rosbags-convert'):
        export_labels.main([str(tmp_path / 'a.bag'), str(tmp_path / 'out'), *options])


def test_images_beside_a_bag_are_read(images, options, tmp_path, capsys):
    folder, out = tmp_path / 'images', tmp_path / 'out'
    folder.mkdir()
    (folder / '0.png').write_bytes((images / '0.png').read_bytes())
    (folder / 'drive.mcap').touch()
    assert export_labels.main([str(folder), str(out), *options]) == 0
    assert capsys.readouterr().out == f'{out}: 1 of 1 frames written\n'
