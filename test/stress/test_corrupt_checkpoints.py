"""Damaged checkpoints by the thousand, to what loads them; some to each command and the node."""

import subprocess
from random import Random

import psutil
import pytest

from fcn_road_seg.commands import calibrate, export
from test.helpers.bag_files import command_line, drive_images, write_bag
from test.helpers.corrupt_checkpoints import (
    DAMAGES,
    FORGERIES,
    cut,
    forge,
    write_narrow_checkpoint,
)
from test.helpers.labelled_frames import write_kitti_road

pytestmark = pytest.mark.stress

# Names and sizes of the tensors of one file, and what Python keeps of the first.
MAX_GROWTH_MIB = 100


@pytest.fixture
def whole_path(tmp_path):
    return write_narrow_checkpoint(tmp_path / 'whole.safetensors')


def one_line_of(command, main, argv, capsys):
    """Return how a command ended in this process: its one line, and nothing else was printed."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    text = ended.value.code
    # Python prints a text and exits with status 1.
    assert isinstance(text, str)
    assert text.startswith(f'{command}: ')
    assert text.isprintable()
    assert capsys.readouterr() == ('', '')
    return text


def test_commands_refuse_each_damaged_file_in_one_line(
    whole_path, tmp_path, times, report, capsys
):
    stored = whole_path.read_bytes()
    path = tmp_path / 'damaged.safetensors'
    argv = ['--checkpoint', str(path), '--out', str(tmp_path / 'out.onnx')]
    process = psutil.Process()
    reasons = set()
    rss_mib = []
    count = max(len(DAMAGES), times(1000))
    for number in range(count):
        path.write_bytes(DAMAGES[number % len(DAMAGES)](stored, Random(number)))
        command, main = [('export', export.main), ('calibrate', calibrate.main)][number // 10 % 2]
        text = one_line_of(command, main, argv, capsys)
        reasons.add(text.partition(f'{path} ')[2][:25])
        rss_mib.append(process.memory_info().rss >> 20)
    assert not (tmp_path / 'out.onnx').exists()
    growth_mib = max(rss_mib) - max(rss_mib[: 2 * len(DAMAGES)])
    assert growth_mib <= MAX_GROWTH_MIB
    report(
        'damaged checkpoints, to export and calibrate in this process',
        count,
        f'each refused in one line, for {len(reasons)} reasons; '
        f'RSS {rss_mib[-1]} MiB, grown by {growth_mib} since the first {2 * len(DAMAGES)}',
    )


def test_every_command_and_the_node_end_with_one_line_and_status_1(whole_path, tmp_path, report):
    bad = tmp_path / 'bad.safetensors'
    data, bag = write_kitti_road(tmp_path / 'kitti'), tmp_path / 'bag'
    write_bag(bag, {'/image': drive_images(1)})
    checkpoint = ('--checkpoint', bad)
    # Random weights, or ImageNet's would be downloaded.
    fresh = ('--weights', 'none', '--encoder', 'vgg16_bn')

    def command_lines(out):
        return [
            ('export', *checkpoint, '--out', out / 'out.onnx'),
            ('calibrate', *checkpoint, '--out', out / 'calibrated'),
            ('evaluate', *checkpoint, '--data', data, '--out', out / 'evaluated'),
            ('segment_bag', bag, out / 'masks', *checkpoint),
            ('export_labels', bag, out / 'labels', *checkpoint),
            ('bench', *checkpoint, '--out', out / 'bench'),
            ('train', '--data', data, '--out', out / 'run', *fresh, '--teacher', bad),
            ('segment', '--ros-args', '-p', f'checkpoint:={bad}'),
        ]

    files = {
        'is not a readable safetensors file': lambda: bad.write_bytes(
            cut(whole_path.read_bytes(), Random(1))
        ),
        'does not describe a network': lambda: forge(
            bad, FORGERIES['weights overflow'], whole_path
        ),
    }
    count = 0
    for refusal, write in files.items():
        write()
        out = tmp_path / refusal
        out.mkdir()
        for line in command_lines(out):
            count += 1
            done = subprocess.run(command_line(*line), capture_output=True, text=True)
            printed = done.stdout + done.stderr
            assert done.returncode == 1, (line, printed)
            assert 'Traceback' not in printed, printed
            assert printed.count(f'{bad} {refusal}') == 1, (line, printed)
    report(
        'cut off and forged checkpoints, to each command and the node, as processes',
        count,
        'exit status 1, one sentence that names the file, no traceback',
    )
