import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_road_seg.utils.atomic_write import (
    atomic_write,
    refuse_to_overwrite,
    refuse_unwritable_folder,
    remove_unfinished,
    write_json,
)


def test_file_appears_under_its_name_readable_by_all(tmp_path):
    path = tmp_path / 'a.bin'
    n_open = len(os.listdir('/proc/self/fd'))
    with atomic_write(path) as part:
        part.write_bytes(b'new')
        part.chmod(0o600)
        assert not path.exists()
    assert path.read_bytes() == b'new'
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    assert len(os.listdir('/proc/self/fd')) == n_open


@pytest.mark.parametrize(('umask', 'mode'), [(0o077, 0o600), (0o002, 0o664)])
def test_file_has_the_permissions_that_the_umask_leaves(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / 'a.bin') as part:
            part.write_bytes(b'new')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a.bin').stat().st_mode) == mode


def test_bytes_are_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / 'a.bin'
    synced = []
    monkeypatch.setattr(
        os, 'fsync', lambda file: synced.append((os.pread(file, 9, 0), path.exists()))
    )
    with atomic_write(path) as part:
        part.write_bytes(b'new')
    assert synced == [(b'new', False)]


def test_error_while_writing_keeps_the_earlier_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')

    def write_half():
        with atomic_write(path) as part:
            part.write_bytes(b'ne')
            raise ValueError('half')

    with pytest.raises(ValueError, match='half'):
        write_half()
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_process_killed_while_writing_keeps_the_earlier_file(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    program = f"""
import os, signal
from fcn_road_seg.utils.atomic_write import atomic_write
with atomic_write({str(path)!r}) as part:
    part.write_bytes(b'half')
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, '-c', program]).returncode == -9
    assert path.read_bytes() == b'old'


def test_what_killed_writers_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / 'a[1].bin'
    kept = {path, tmp_path / 'a[1].bin.part', tmp_path / 'a1.bin.x.part', tmp_path / 'b.x.part'}
    for file in (*kept, tmp_path / 'a[1].bin.abc.part', tmp_path / 'a[1].bin.def.part'):
        file.write_bytes(b'x')
    remove_unfinished(path)
    assert set(tmp_path.iterdir()) == kept


def test_disk_with_no_room_keeps_the_earlier_file(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    program = f"""
from fcn_road_seg.utils.atomic_write import atomic_write
with atomic_write({str(path)!r}) as part:
    part.write_bytes(bytes(100_000))
"""
    ended = subprocess.run(
        [sys.executable, '-c', program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
    )
    assert 'OSError' in ended.stderr
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('folder', ['new/below', '.'])
def test_check_of_a_writable_folder_leaves_no_trace(folder, tmp_path):
    refuse_unwritable_folder(tmp_path / folder)
    assert not list(tmp_path.iterdir())


def test_folder_below_a_file_cannot_be_written_to(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match=r'file/out cannot be written to \(Not a directory\)'):
        refuse_unwritable_folder(tmp_path / 'file/out')


def test_folder_of_a_file_system_without_files_cannot_be_written_to():
    with pytest.raises(ValueError, match=r'/proc/out cannot be written to .*; use another folder'):
        refuse_unwritable_folder(Path('/proc/out'))


def test_file_that_does_not_exist_may_be_written_and_no_trace_is_left(tmp_path):
    refuse_to_overwrite(tmp_path / 'new/below/a.bin')
    assert not list(tmp_path.iterdir())


def test_what_exists_is_not_overwritten_nor_is_a_dangling_link(tmp_path):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for name in ('file', 'link'):
        with pytest.raises(ValueError, match=f'/{name} exists already; use another name, or rem'):
            refuse_to_overwrite(tmp_path / name)


def test_file_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match=r'/file cannot be written to \(Not a directory\); use'):
        refuse_to_overwrite(tmp_path / 'file/a.bin')


def test_json_is_indented_and_ends_with_a_line_break(tmp_path):
    write_json({'iou': 0.5, 'grids': []}, tmp_path / 'report.json')
    assert (tmp_path / 'report.json').read_text() == '{\n  "iou": 0.5,\n  "grids": []\n}\n'
