import json
import os
import zipfile

import cv2
import numpy as np
import pytest

from fcn_road_seg.commands import evaluate
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView

CALIBRATION = """P2: 700 0 600 45 0 700 170 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0.3
"""


def kitti(root, *, split):
    """Two grey frames, one with calibration, all road but the upper half."""
    for folder in ('image_2', 'gt_image_2', 'calib'):
        (root / split / folder).mkdir(parents=True)
    gt_bgr = np.zeros((40, 60, 3), np.uint8)
    gt_bgr[..., 2] = 255
    gt_bgr[20:, :, 0] = 255
    for i in range(2):
        cv2.imwrite(str(root / split / f'image_2/um_00000{i}.png'), np.full((40, 60, 3), 99, 'u1'))
        cv2.imwrite(str(root / split / f'gt_image_2/um_road_00000{i}.png'), gt_bgr)
    (root / split / 'calib/um_000000.txt').write_text(CALIBRATION)
    return root


def test_command_prints_and_writes_figures_and_pictures_of_every_data_set(
    tmp_path, random_checkpoint_path, capsys
):
    data = kitti(tmp_path / 'kitti', split='training')
    out = tmp_path / 'out'
    arguments = ['--data', str(data), '--split', 'all', '--rendered', '1', '--out', str(out)]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    written = json.loads((out / 'report.json').read_text())
    assert list(written['data']) == ['kitti all (2 frames)', 'rendered (1 frames)']
    figures = written['data']['kitti all (2 frames)']
    assert list(figures['perspective']) == ['um', 'pooled']
    assert list(figures['birds_eye_view']) == ['um', 'pooled']
    assert 0 <= figures['iou'] <= 1
    printed = capsys.readouterr().out
    assert f'kitti all (2 frames): iou {figures["iou"]:.4f}' in printed
    for picture in ('precision_recall.png', 'worst_kitti.png', 'worst_rendered.png'):
        assert cv2.imread(str(out / picture)) is not None


def test_submission_has_every_test_frame_in_birds_eye_view_under_the_servers_names(
    tmp_path, random_checkpoint_path
):
    data = kitti(tmp_path / 'kitti', split='testing')
    (data / 'testing/calib/um_000001.txt').write_text(CALIBRATION)
    arguments = ['--data', str(data), '--submission', str(tmp_path / 'out')]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    with zipfile.ZipFile(tmp_path / 'out/road_submission.zip') as archive:
        assert archive.namelist() == ['um_road_000000.png', 'um_road_000001.png']
        png = np.frombuffer(archive.read('um_road_000000.png'), np.uint8)
    seen = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    assert (seen.shape, seen.dtype) == (BirdsEyeView().shape_hw, np.uint8)


def test_threshold_and_input_size_of_the_command_replace_those_of_the_checkpoint(
    tmp_path, random_checkpoint_path
):
    data = kitti(tmp_path / 'kitti', split='training')
    arguments = ['--data', str(data), '--split', 'all', '--backend', 'torch']
    arguments += ['--checkpoint', str(random_checkpoint_path)]

    def report_of(name, *options):
        assert evaluate.main([*arguments, *options, '--out', str(tmp_path / name)]) == 0
        return json.loads((tmp_path / name / 'report.json').read_text())

    plain = report_of('plain')
    everything = report_of('threshold', '--threshold', '0.001')
    smaller = report_of('smaller', '--input', '32x32')
    assert (plain['threshold'], everything['threshold']) == (0.5, 0.001)
    name = 'kitti all (2 frames)'
    # Below every p(road) all is road: half of each frame.
    assert everything['data'][name]['iou'] == 0.5
    views = [report['data'][name]['perspective'] for report in (plain, everything, smaller)]
    assert views[0] == views[1] != views[2]


def test_calibration_at_fault_is_one_line_that_names_the_file(tmp_path, random_checkpoint_path):
    data = kitti(tmp_path / 'kitti', split='training')
    (data / 'training/calib/um_000000.txt').write_text('P2: 1 2 3\n')
    arguments = ['--data', str(data), '--split', 'all', '--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit, match=r'evaluate: .*um_000000.txt: .*P2 has 3 numbers'):
        evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)])
    assert not (tmp_path / 'out').exists()


def test_checkpoint_at_fault_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r'evaluate: .*none.safetensors does not exist'):
        evaluate.main(['--rendered', '1', '--checkpoint', str(tmp_path / 'none.safetensors')])


def test_misspelt_drive_is_refused_and_not_measured_on_others(tmp_path):
    data = kitti(tmp_path / 'kitti', split='training')
    arguments = ['--data', str(data), '--hold-out', 'uum', '--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit, match=r"evaluate: no frame's name begins with 'uum'"):
        evaluate.main(arguments)
    assert not (tmp_path / 'out').exists()


def test_split_without_frames_is_one_line(tmp_path, random_checkpoint_path):
    data = kitti(tmp_path / 'kitti', split='training')
    arguments = ['--data', str(data), '--split', 'val', '--val-fraction', '0']
    with pytest.raises(SystemExit, match=r'evaluate: .*kitti has no val frames; use --split all'):
        evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)])


def test_split_without_frames_is_refused_before_the_network_is_loaded(tmp_path):
    data = kitti(tmp_path / 'kitti', split='training')
    arguments = ['--data', str(data), '--split', 'val', '--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit, match='has no val frames'):
        evaluate.main([*arguments, '--checkpoint', 'nowhere.safetensors'])


def test_data_set_without_validation_frames_is_measured_whole_and_this_is_said(
    tmp_path, random_checkpoint_path, capsys
):
    data = kitti(tmp_path / 'kitti', split='training')
    arguments = ['--data', str(data), '--out', str(tmp_path / 'out')]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert list(report['data']) == ['kitti all (2 frames)']
    said = f'evaluate: {data} has no validation frames; all 2 frames are measured, some'
    assert said in capsys.readouterr().err


def own_frames(root, mask):
    """A data set of one frame, all of whose mask has this value."""
    for folder, value in (('images', 90), ('masks', mask)):
        (root / folder).mkdir(parents=True)
        _, png = cv2.imencode('.png', np.full((64, 96), value, np.uint8))
        (root / folder / '0.png').write_bytes(png.tobytes())
    return root


def test_data_sets_of_one_name_are_all_reported_with_pictures_of_their_own(
    tmp_path, random_checkpoint_path
):
    roots = [own_frames(tmp_path / name, 255) for name in ('a/my road', 'b/my road', 'my car')]
    out = tmp_path / 'out'
    arguments = ['--data', *map(str, roots), '--split', 'all', '--out', str(out)]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    report = json.loads((out / 'report.json').read_text())
    names = ['my road', 'my road_1', 'my car']
    assert list(report['data']) == [f'{name} all (1 frames)' for name in names]
    assert {path.name for path in out.glob('worst_*')} == {f'worst_{name}.png' for name in names}


def test_frames_of_one_name_are_told_apart_in_the_report(tmp_path, random_checkpoint_path):
    root = own_frames(tmp_path / 'own', 255)
    own_frames(tmp_path / 'more', 255)
    for folder in ('images', 'masks'):
        (tmp_path / f'more/{folder}').rename(root / folder / 'aug')
    arguments = ['--data', str(root), '--split', 'all', '--out', str(tmp_path / 'out')]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    (figures,) = json.loads((tmp_path / 'out/report.json').read_text())['data'].values()
    worst = {entry['frame'] for entry in figures['worst']}
    assert worst == {str(root / 'images/0.png'), str(root / 'images/aug/0.png')}


@pytest.mark.parametrize('name', [b'50 %d #1?=2', b'caf\xe9', b'$x$_{', b"a'\\n\n*[b]"])
def test_paths_of_any_bytes_are_read_and_written(name, tmp_path, random_checkpoint_path):
    home = tmp_path / os.fsdecode(name)
    data = own_frames(home / 'data', 255)
    arguments = ['--data', str(data), '--split', 'all', '--out', str(home / 'out')]
    assert evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)]) == 0
    written = {path.name for path in (home / 'out').iterdir()}
    assert written == {'report.json', 'precision_recall.png', 'worst_data.png'}
    assert {path.name for path in tmp_path.iterdir()} == {os.fsdecode(name)}


def test_report_of_another_evaluation_is_not_overwritten(tmp_path):
    data = own_frames(tmp_path / 'data', 255)
    (tmp_path / 'report.json').write_text('of another')
    with pytest.raises(SystemExit, match=r'evaluate: .*report.json exists already; use another f'):
        evaluate.main(['--data', str(data), '--split', 'all', '--out', str(tmp_path)])
    assert (tmp_path / 'report.json').read_text() == 'of another'


def test_submission_is_not_overwritten(tmp_path):
    data = kitti(tmp_path / 'kitti', split='testing')
    (tmp_path / 'road_submission.zip').write_text('of another')
    with pytest.raises(SystemExit, match=r'road_submission.zip exists already; use another folde'):
        evaluate.main(['--data', str(data), '--submission', str(tmp_path)])
    assert (tmp_path / 'road_submission.zip').read_text() == 'of another'


def test_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(tmp_path):
    data = own_frames(tmp_path / 'data', 255)
    with pytest.raises(
        SystemExit, match=r'evaluate: /proc/no cannot be written to \(No such file'
    ):
        evaluate.main(['--data', str(data), '--split', 'all', '--out', '/proc/no'])


@pytest.mark.parametrize('count', ['-3', '1.5', 'many'])
def test_count_of_rendered_scenes_that_is_none_is_refused(count, capsys):
    with pytest.raises(SystemExit, match='2'):
        evaluate.main(['--rendered', count])
    assert f'{count!r} is not a whole number of at least 0' in capsys.readouterr().err
