import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.datasets.kitti_calibration import CalibrationError
from fcn_road_seg.datasets.kitti_sequences import (
    SequenceError,
    find_sequence,
    parse_seconds,
    parse_timestamp,
)
from test.helpers.kitti_trees import (
    DAY,
    ODOMETRY_CALIB,
    ODOMETRY_P2,
    P2,
    odometry_sequence,
    raw_drive,
    road_folder,
    timestamps,
)

# 2011-09-26 13:02:25 in UTC.
START_NS = 1_317_042_145_000_000_000


def result_or_message(function, argument):
    try:
        return function(argument)
    except ValueError as error:
        return str(error)


def problems(sequence):
    return {frame.number: frame.problem for frame in sequence.frames if frame.problem}


def test_raw_drive_has_its_stamps_to_the_nanosecond(tmp_path):
    sequence = find_sequence(raw_drive(tmp_path))
    assert sequence.kind == 'raw drive'
    assert [frame.stamp_ns - START_NS for frame in sequence.frames] == [
        964_389_445,
        1_964_389_452,
        2_964_389_459,
        3_964_389_466,
    ]
    assert [frame.path.stem for frame in sequence.frames] == [f'{i:010}' for i in range(4)]
    assert not problems(sequence)


def test_synchronised_drive_is_rectified_already(tmp_path):
    camera = find_sequence(raw_drive(tmp_path)).frames[0].camera
    assert camera.p.ravel().tolist() == P2
    assert camera.k.tolist() == [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
    assert not camera.d.any()
    assert np.array_equal(camera.r, np.eye(3))
    assert camera.frame_wh == (1242, 375)


def test_extracted_drive_has_its_distortion_and_rectification(tmp_path):
    camera = find_sequence(raw_drive(tmp_path, kind='extract')).frames[0].camera
    assert camera.k.tolist() == [[959.791, 0, 696.0217], [0, 956.9251, 224.1806], [0, 0, 1]]
    assert camera.d.tolist() == [-0.3691481, 0.1968681, 0.001353473, 0.0005677587, -0.06770705]
    assert camera.r[0].tolist() == [0.9998817, 0.01511453, -0.002841595]
    assert camera.p.ravel().tolist() == P2
    assert camera.frame_wh == (1392, 512)


def test_odometry_times_are_exact_decimals(tmp_path):
    folder = odometry_sequence(tmp_path, ['0.000000e+00', '1.037513e-01', '4.703400e+02'])
    sequence = find_sequence(folder)
    assert sequence.kind == 'odometry sequence'
    assert [frame.stamp_ns for frame in sequence.frames] == [0, 103_751_300, 470_340_000_000]
    camera = sequence.frames[2].camera
    assert camera.p.ravel().tolist() == ODOMETRY_P2
    assert np.array_equal(camera.k, camera.p[:, :3])
    assert not camera.d.any()


@pytest.mark.parametrize(('rate_hz', 'step_ns'), [(None, 100_000_000), (3.0, 333_333_333)])
def test_road_frames_are_stamped_by_their_rate(tmp_path, rate_hz, step_ns):
    for folder in (road_folder(tmp_path), tmp_path / 'data_road/training'):
        sequence = find_sequence(folder, rate_hz)
        assert [frame.stamp_ns for frame in sequence.frames] == [0, step_ns]
        assert [frame.path.stem for frame in sequence.frames] == ['um_000000', 'umm_000004']
        assert sequence.frames[1].camera.p.ravel().tolist() == P2
        assert not sequence.one_size


def test_rates_that_are_no_whole_nanoseconds_do_not_drift(tmp_path):
    road_folder(tmp_path, [f'um_{i:06}' for i in range(10)])
    frames = find_sequence(tmp_path / 'data_road', 3.0).frames
    assert frames[9].stamp_ns == 3_000_000_000


def test_road_frame_without_calibration_is_kept_and_one_with_a_damaged_one_is_not(tmp_path):
    calib = road_folder(tmp_path) / 'training/calib'
    (calib / 'um_000000.txt').unlink()
    (calib / 'umm_000004.txt').write_text('P2: 1 2 3\n')
    sequence = find_sequence(tmp_path / 'data_road')
    assert sequence.frames[0].camera is None
    assert list(problems(sequence)) == [1]
    assert 'P2 has 3 numbers' in problems(sequence)[1]


def test_gap_in_the_numbers_is_a_problem_and_the_others_keep_their_own_times(tmp_path):
    drive = raw_drive(tmp_path, count=5)
    (drive / 'image_02/data/0000000002.png').unlink()
    (drive / 'image_02/data/0000000004.png').unlink()
    sequence = find_sequence(drive)
    assert problems(sequence) == {2: 'has no image', 4: 'has no image'}
    assert sequence.frames[3].stamp_ns == START_NS + 3_964_389_466


def test_missing_and_unreadable_times_are_problems_of_their_frames(tmp_path):
    drive = raw_drive(tmp_path, count=5)
    lines = timestamps(5)
    lines[1] = ''
    lines[2] = 'tomorrow'
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(lines[:4]))
    found = problems(find_sequence(drive))
    assert found == {
        1: 'has no time',
        2: "has no time: 'tomorrow' is not a time such as '2011-09-26 13:02:25.964389445'",
        4: 'has no time',
    }


@pytest.mark.parametrize('end', ['', '\n', '\n\n\n', '\r\n \r\n'])
def test_blank_lines_at_the_end_and_line_ends_of_windows_are_no_times(tmp_path, end):
    drive = raw_drive(tmp_path, count=3)
    text = '\r\n'.join(timestamps(3)) + end
    (drive / 'image_02/timestamps.txt').write_bytes(text.encode())
    calib = tmp_path / DAY / 'calib_cam_to_cam.txt'
    calib.write_bytes(calib.read_bytes().replace(b'\n', b'\r\n'))
    sequence = find_sequence(drive)
    assert [frame.stamp_ns - START_NS for frame in sequence.frames] == [
        964_389_445,
        1_964_389_452,
        2_964_389_459,
    ]
    assert not problems(sequence)
    assert sequence.frames[0].camera.p.ravel().tolist() == P2


def test_number_far_beyond_the_times_costs_nothing(tmp_path):
    drive = raw_drive(tmp_path, count=2)
    (drive / 'image_02/data/0000000001.png').rename(drive / 'image_02/data/9999999999.png')
    assert problems(find_sequence(drive)) == {1: 'has no image', 9999999999: 'has no time'}


def test_calibration_within_the_drive_is_found_too(tmp_path):
    drive = raw_drive(tmp_path)
    shutil.move(tmp_path / DAY / 'calib_cam_to_cam.txt', drive)
    assert find_sequence(drive).frames[0].camera.p[0, 3] == 44.85728


@pytest.mark.parametrize(('kind', 'distortion'), [('sync', 0.0), ('extract', -0.3691481)])
def test_link_to_a_drive_has_the_calibration_beside_the_drive(tmp_path, kind, distortion):
    (tmp_path / 'link').symlink_to(raw_drive(tmp_path / 'disk', kind=kind))
    camera = find_sequence(tmp_path / 'link').frames[0].camera
    assert camera.d[0] == distortion


def test_drive_is_known_by_its_own_name_when_it_is_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(raw_drive(tmp_path, kind='extract') / 'image_02')
    assert find_sequence(Path('..')).frames[0].camera.frame_wh == (1392, 512)


@pytest.mark.parametrize(
    ('removed', 'reason'),
    [
        (f'{DAY}/calib_cam_to_cam.txt', 'has no calib_cam_to_cam.txt beside it'),
        (f'{DAY}/{DAY}_drive_0005_sync/image_02/timestamps.txt', 'timestamps.txt cannot be read'),
        (f'{DAY}/{DAY}_drive_0005_sync/image_02/data', 'data does not exist; unpack the images'),
    ],
)
def test_raw_drive_that_lacks_a_part_says_which(tmp_path, removed, reason):
    drive = raw_drive(tmp_path)
    path = tmp_path / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SequenceError, match=reason):
        find_sequence(drive)


def test_tracking_benchmark_is_not_taken_for_a_raw_drive(tmp_path):
    (tmp_path / 'training/image_02/0000').mkdir(parents=True)
    (tmp_path / 'training/image_02/0001').mkdir()
    with pytest.raises(
        SequenceError, match=r'training is of the tracking benchmark, .* raw drive$'
    ):
        find_sequence(tmp_path / 'training')


def test_folder_without_an_image_says_what_it_looked_for(tmp_path):
    data = raw_drive(tmp_path) / 'image_02/data'
    for path in data.iterdir():
        path.rename(path.with_suffix('.bmp'))
    with pytest.raises(SequenceError, match=r'data holds no image \(\.png, \.jpg, \.jpeg\)'):
        find_sequence(data.parents[1])


def test_odometry_sequence_without_times_is_refused(tmp_path):
    folder = odometry_sequence(tmp_path, ['0', '0.1'])
    (folder / 'times.txt').unlink()
    with pytest.raises(SequenceError, match=r'times\.txt cannot be read'):
        find_sequence(folder)


def test_times_that_are_no_text_are_refused(tmp_path):
    folder = odometry_sequence(tmp_path, ['0', '0.1'])
    (folder / 'times.txt').write_bytes(b'\xff\xfe0')
    with pytest.raises(SequenceError, match=r'times\.txt cannot be read'):
        find_sequence(folder)


def test_odometry_sequence_without_the_colour_cameras_matrix_is_refused(tmp_path):
    folder = odometry_sequence(tmp_path, ['0', '0.1'])
    (folder / 'calib.txt').write_text(ODOMETRY_CALIB.replace('P2', 'P3'))
    with pytest.raises(CalibrationError, match=r'calib\.txt: calibration has no P2'):
        find_sequence(folder)


def test_odometry_sequence_of_the_grey_archive_is_refused(tmp_path):
    folder = odometry_sequence(tmp_path, ['0', '0.1'])
    (folder / 'image_2').rename(folder / 'image_0')
    with pytest.raises(SequenceError, match=r'image_2 does not exist; unpack .* left colour'):
        find_sequence(folder)


def test_odometry_images_alone_are_not_taken_for_a_road_folder(tmp_path):
    folder = odometry_sequence(tmp_path, ['0', '0.1'])
    (folder / 'times.txt').unlink()
    (folder / 'calib.txt').unlink()
    with pytest.raises(
        SequenceError, match=r'neither times\.txt and calib\.txt .* nor a calib folder'
    ):
        find_sequence(folder)


def test_road_folder_is_known_by_its_calibration_or_by_its_names(tmp_path):
    training = road_folder(tmp_path / 'a', ['000000', '000001']) / 'training'
    assert find_sequence(training).kind == 'road folder'
    training = road_folder(tmp_path / 'b') / 'training'
    shutil.rmtree(training / 'calib')
    assert [frame.camera for frame in find_sequence(training).frames] == [None, None]


def test_folder_of_another_layout_is_refused_naming_the_three(tmp_path):
    with pytest.raises(SequenceError, match=r'has no KITTI layout: a raw drive contains image_02'):
        find_sequence(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(SequenceError, match=r'nowhere is not a folder'):
        find_sequence(tmp_path / 'nowhere')


def test_folder_above_a_drive_names_the_drive(tmp_path):
    raw_drive(tmp_path)
    text = f'contains several sequences; give one of {DAY}_drive_0005_sync'
    with pytest.raises(SequenceError, match=text):
        find_sequence(tmp_path / DAY)


def test_folder_above_two_road_folders_names_both(tmp_path):
    road = road_folder(tmp_path)
    shutil.copytree(road / 'training', road / 'testing')
    text = r'contains several sequences; give one of testing, training'
    with pytest.raises(SequenceError, match=text):
        find_sequence(road)


def test_rate_is_refused_where_there_are_times(tmp_path):
    with pytest.raises(SequenceError, match='has its own times; omit the rate'):
        find_sequence(raw_drive(tmp_path), 10.0)


def test_two_images_of_one_number_are_refused(tmp_path):
    drive = raw_drive(tmp_path)
    data = drive / 'image_02/data'
    shutil.copy(data / '0000000001.png', data / '1.png')
    with pytest.raises(SequenceError, match='have the same number'):
        find_sequence(drive)


def test_image_that_is_not_named_by_a_number_is_refused(tmp_path):
    drive = raw_drive(tmp_path)
    data = drive / 'image_02/data'
    shutil.copy(data / '0000000001.png', data / 'first.png')
    with pytest.raises(SequenceError, match='is not named by a number'):
        find_sequence(drive)


def test_hidden_images_as_in_archives_of_a_mac_are_ignored(tmp_path):
    drive = raw_drive(tmp_path)
    data = drive / 'image_02/data'
    shutil.copy(data / '0000000001.png', data / '._0000000001.png')
    assert len(find_sequence(drive).frames) == 4


@given(st.integers(0, 253_402_300_799), st.integers(0, 999_999_999))
def test_every_time_until_the_year_9999_is_read_back(seconds, nanoseconds):
    text = str(np.datetime64(seconds, 's')).replace('T', ' ')
    ns = parse_timestamp(f'{text}.{nanoseconds:09}')
    assert ns == seconds * 1_000_000_000 + nanoseconds


def test_digits_that_a_time_leaves_out_are_zeros():
    assert parse_timestamp('2011-09-26 13:02:25.9') == START_NS + 900_000_000


@given(st.integers(0, 10**18))
def test_every_number_of_seconds_is_exact_to_the_nanosecond(ns):
    assert parse_seconds(f'{ns // 10**9}.{ns % 10**9:09}') == ns
    assert parse_seconds(f'{ns}e-9') == ns


@given(st.one_of(st.text(), st.text('0123456789-: .eE+naif', max_size=40)))
@pytest.mark.parametrize('parse', [parse_timestamp, parse_seconds])
def test_any_text_is_a_time_or_one_line_of_error(parse, text):
    result = result_or_message(parse, text)
    assert isinstance(result, int) or '\n' not in result


@pytest.mark.parametrize('text', ['nan', 'inf', '-1', '1e999999999', '', '2011-09-26'])
def test_what_is_no_number_of_seconds_is_refused_at_once(text):
    with pytest.raises(ValueError, match='is not a number of seconds'):
        parse_seconds(text)
