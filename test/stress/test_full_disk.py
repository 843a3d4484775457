"""A disk, a small tmpfs, that becomes full while a file is written to it."""

import os
import subprocess
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed')

from fcn_road_seg.model.checkpoint import load_checkpoint, save_checkpoint
from fcn_road_seg.viz.video import VideoError, atomic_video_writer
from test.helpers.bag_files import command_line, drive_images, write_bag
from test.helpers.easy_data import TINY, write_easy_data
from test.helpers.killed_training import TIMEOUT_S, finish, start_training

pytestmark = pytest.mark.stress

MIB = 2**20


@pytest.fixture
def disk(tmp_path):
    """A folder with a file system of its own, of 128 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=128m', 'none', folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f'no tmpfs can be mounted: {mounted.stderr.strip()}')
    yield folder
    subprocess.run(['umount', folder], check=True)


def fill(disk, left):
    """Extend a file until `left` bytes are free, or others have taken these, and return it."""
    ballast = disk / 'ballast'
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with suppress(OSError), ballast.open('ab', buffering=0) as file:
        file.write(bytes(max(0, free - left)))
    return ballast


def test_network_is_the_earlier_one(disk, wide_checkpoint, report):
    path = disk / 'network.safetensors'
    save_checkpoint(wide_checkpoint, path, torch.float16)
    sha256 = load_checkpoint(path).sha256
    fill(disk, MIB)
    with pytest.raises(Exception, match=r'No space left|os error 28'):
        save_checkpoint(wide_checkpoint, path)
    assert load_checkpoint(path).sha256 == sha256
    assert {file.name for file in disk.iterdir()} == {path.name, 'ballast'}
    report('full disk while a network is written', 1, 'the earlier network is whole')


def test_training_says_so_and_resumes_when_there_is_room_again(disk, tmp_path, report):
    data = tmp_path / 'data'
    data.mkdir()
    arguments = [*TINY, '--data', str(write_easy_data(data)), '--crop', '32x32', '--batch', '2']
    arguments += ['--val-every', '2', '--steps', '200']
    run = disk / 'run'
    running = start_training(arguments, run)
    end_s = time.monotonic() + TIMEOUT_S
    while not (run / 'last.ckpt').exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.01)
    while running.poll() is None:
        # What the training has freed, too.
        ballast = fill(disk, 64 * 1024)
        time.sleep(0.01)
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert 'Traceback' not in output
    assert 'cannot be written' in output.splitlines()[-1]
    step = torch.load(run / 'last.ckpt', weights_only=True)['global_step']
    assert step >= 2
    ballast.unlink()
    finish(start_training(arguments, run))
    assert torch.load(run / 'last.ckpt', weights_only=True)['global_step'] == 200
    report('full disk while a training saves', 1, f'one line; resumed from step {step} later')


def test_bag_is_not_there_at_all(disk, tmp_path, wide_checkpoint_path, report):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1, (375, 1242)) * 20})
    fill(disk, 4 * MIB)
    ended = subprocess.run(
        command_line('segment_bag', bag, disk / 'masks', '--checkpoint', wide_checkpoint_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ended.returncode == 1
    assert 'Traceback' not in ended.stderr
    assert 'No space left' in ended.stderr.splitlines()[-1]
    assert [file.name for file in disk.iterdir()] == ['ballast']
    report('full disk while a bag is written', 1, 'one line; no bag, and no half of one')


def test_video_is_the_earlier_one(disk, report):
    path = disk / 'a.mp4'
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), np.uint8)

    def write(pictures):
        with atomic_video_writer(path, 10.0) as add:
            for picture in pictures:
                add(picture)

    write(noise[:2])
    fill(disk, MIB // 4)
    with pytest.raises(VideoError, match=r'is the disk full\?'):
        write(noise)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert {file.name for file in disk.iterdir()} == {'a.mp4', 'ballast'}
    report('full disk while a video is written', 1, 'the earlier video is whole')
