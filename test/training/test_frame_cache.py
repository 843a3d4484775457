import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest

from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.training.frame_cache import FrameCache, default_cache_folder, frame_key
from test.helpers.labelled_frames import grey, write_image

# A sample of 10 x 10 pixels, with its header.
SAMPLE_BYTES = 408
# A little more than three of them.
ROOM = 3 * SAMPLE_BYTES + 50


def sample(value=0, hw=(10, 10)):
    frame_rgb = np.full((*hw, 3), value, np.uint8)
    frame_rgb[0, 1] = 1, 2, 3
    return frame_rgb, np.full(hw, value // 2, np.uint8)


def aged(folder, seconds=100):
    """Set back the times of all files, as if their run had been `seconds` ago."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - seconds, path.stat().st_mtime - seconds))


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != 'size')


def test_frame_and_label_come_back_as_they_were(tmp_path):
    frame_rgb, label = sample(9, (5, 7))
    FrameCache(tmp_path, 10_000).store('a', (frame_rgb[:, ::-1], label))
    kept_rgb, kept_label = FrameCache(tmp_path, 10_000).load('a')
    assert np.array_equal(kept_rgb, frame_rgb[:, ::-1])
    assert np.array_equal(kept_label, label)
    assert kept_rgb.flags.writeable


def test_frame_that_is_not_there_is_none(tmp_path):
    cache = FrameCache(tmp_path, 10_000)
    assert cache.load('a') is None
    assert not cache.use('a')


@pytest.mark.parametrize('left', [0, 5, 8, 200, SAMPLE_BYTES - 1, 'zeros'])
def test_file_that_a_power_cut_damaged_is_not_used_and_can_be_replaced(tmp_path, left):
    cache = FrameCache(tmp_path, 10_000)
    cache.store('a', sample())
    whole = (tmp_path / 'a').read_bytes()
    (tmp_path / 'a').write_bytes(bytes(SAMPLE_BYTES) if left == 'zeros' else whole[:left])
    assert cache.load('a') is None
    cache.store('a', sample())
    assert (tmp_path / 'a').read_bytes() == whole


def test_nothing_more_is_stored_in_a_full_cache(tmp_path):
    cache = FrameCache(tmp_path, ROOM)
    for key in 'abcd':
        cache.store(key, sample())
    assert names(tmp_path) == ['a', 'b', 'c']


def test_files_of_earlier_runs_give_way_the_least_recently_used_first(tmp_path):
    for key in 'abc':
        FrameCache(tmp_path, ROOM).store(key, sample())
        aged(tmp_path)
    FrameCache(tmp_path, ROOM).use('a')
    aged(tmp_path)
    cache = FrameCache(tmp_path, ROOM)
    cache.store('d', sample())
    assert names(tmp_path) == ['a', 'c', 'd']


def test_files_that_this_run_uses_do_not_give_way(tmp_path):
    for key in 'abc':
        FrameCache(tmp_path, ROOM).store(key, sample())
    aged(tmp_path)
    cache = FrameCache(tmp_path, ROOM)
    assert all(cache.use(key) for key in 'abc')
    cache.store('d', sample())
    assert names(tmp_path) == ['a', 'b', 'c']


def test_remains_of_a_killed_process_give_way_too(tmp_path):
    FrameCache(tmp_path, ROOM)
    (tmp_path / 'a.xyz.part').write_bytes(bytes(ROOM))
    aged(tmp_path)
    FrameCache(tmp_path, ROOM).store('b', sample())
    assert names(tmp_path) == ['b']


@pytest.mark.parametrize('number', ['', 'x', '9' * 20])
def test_damaged_count_of_the_bytes_is_put_right(tmp_path, number):
    FrameCache(tmp_path, ROOM)
    (tmp_path / 'size').write_text(number)
    cache = FrameCache(tmp_path, ROOM)
    for key in 'abcd':
        cache.store(key, sample())
    assert names(tmp_path) == ['a', 'b', 'c']


def test_folder_within_the_cache_is_not_counted(tmp_path):
    cache = FrameCache(tmp_path, ROOM)
    cache.store('a', sample())
    (tmp_path / 'folder').mkdir()
    assert cache.used_bytes() == SAMPLE_BYTES


def fill(folder, first):
    cache = FrameCache(folder, 50 * SAMPLE_BYTES)
    for number in range(first, first + 30):
        cache.store(str(number), sample(number))


def test_processes_fill_one_folder_up_to_its_size_with_whole_files(tmp_path):
    # They overlap: each frame of the middle is written by several.
    fork = multiprocessing.get_context('fork')
    writers = [fork.Process(target=fill, args=(tmp_path, 20 * n)) for n in range(4)]
    for writer in writers:
        writer.start()
    cache = FrameCache(tmp_path, 50 * SAMPLE_BYTES)
    largest = 0
    while any(writer.is_alive() for writer in writers):
        largest = max(largest, cache.used_bytes())
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert cache.used_bytes() > 30 * SAMPLE_BYTES
    assert max(largest, cache.used_bytes()) <= 50 * SAMPLE_BYTES
    for name in names(tmp_path):
        assert np.array_equal(cache.load(name)[0], sample(int(name))[0])


def test_folder_that_is_removed_in_mid_run_costs_the_frames_only(tmp_path):
    cache = FrameCache(tmp_path / 'cache', 10_000)
    cache.store('a', sample())
    shutil.rmtree(tmp_path / 'cache')
    cache.store('b', sample())
    assert cache.load('a') is None


def test_disk_that_is_full_costs_the_frames_only(tmp_path, monkeypatch):
    cache = FrameCache(tmp_path, 10_000)
    monkeypatch.setattr(os, 'replace', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    cache.store('a', sample())
    assert names(tmp_path) == []


def test_last_of_the_disk_is_left_to_the_run(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    for free, kept in ((5 * 10**9 + 407, []), (5 * 10**9 + 408, ['a'])):
        monkeypatch.setattr(shutil, 'disk_usage', lambda _, free=free: usage._replace(free=free))
        FrameCache(tmp_path, 10_000).store('a', sample())
        assert names(tmp_path) == kept


def test_cache_of_size_0_touches_nothing(tmp_path):
    FrameCache(tmp_path, 10_000).store('a', sample())
    cache = FrameCache(tmp_path, 0)
    cache.store('b', sample())
    assert cache.load('a') is None
    assert not cache.use('a')
    assert names(tmp_path) == ['a']


def test_folder_that_cannot_be_written_to_is_refused():
    with pytest.raises(ValueError, match=r'/proc/cache cannot be written to .*; use another fol'):
        FrameCache('/proc/cache', 10_000)


def own_frame(root):
    (frame,) = find_frames(root, 'all')
    return frame_key(frame.version())


def test_key_changes_with_either_file_and_with_nothing_else(tmp_path, monkeypatch):
    for folder in ('images', 'masks'):
        write_image(tmp_path / f'{folder}/a.png', grey(0))
    keys = [own_frame(tmp_path), own_frame(tmp_path)]
    monkeypatch.chdir(tmp_path)
    keys.append(own_frame('.'))
    for folder in ('images', 'masks'):
        os.utime(tmp_path / f'{folder}/a.png', ns=(1, 1))
        keys.append(own_frame(tmp_path))
    write_image(tmp_path / 'masks/a.png', grey(255, (6, 4)))
    os.utime(tmp_path / 'masks/a.png', ns=(1, 1))
    keys.append(own_frame(tmp_path))
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[2:])) == 4


def test_cache_is_where_xdg_puts_it(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/x')
    assert str(default_cache_folder()) == '/x/fcn_road_seg/frames'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/me')
    assert str(default_cache_folder()) == '/home/me/.cache/fcn_road_seg/frames'


def test_user_without_a_home_folder_is_told_to_name_a_cache(monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.delenv('HOME')
    monkeypatch.setattr(os, 'getuid', lambda: 123_456_789)
    with pytest.raises(ValueError, match=r'no home folder for the cache; .* \(--cache\)'):
        default_cache_folder()
