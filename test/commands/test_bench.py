import contextlib
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import pytest
import torch

from fcn_road_seg.bench import run as bench_run
from fcn_road_seg.bench import variants
from fcn_road_seg.bench.options import LABELS
from fcn_road_seg.bench.report import digits
from fcn_road_seg.commands import bench
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.network_config import RoadFCNConfig

NAMES = ['eager', 'folded']


@pytest.fixture(scope='module')
def tiny(wide_checkpoint_path, tmp_path_factory):
    """A real run, of two rounds at two small sizes: its folder, and what it printed."""
    out = tmp_path_factory.mktemp('bench')
    argv = ['--checkpoint', str(wide_checkpoint_path), '--device', 'cpu', '--frame', '48x96']
    argv += ['--sizes', '32x64', '64x64', '--networks', 'folded', '--rounds', '2']
    threads = torch.get_num_threads(), cv2.getNumThreads()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert bench.main([*argv, '--threads', '1', '--out', str(out)]) == 0
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    report = json.loads((out / 'bench.json').read_text())
    return SimpleNamespace(out=out, printed=printed.getvalue(), report=report)


def test_report_has_the_documented_keys(tiny):
    assert list(tiny.report) == [
        *('format_version', 'began', 'machine', 'versions', 'checkpoint_sha256', 'device'),
        *('frame', 'backend', 'precision', 'threads', 'rounds', 'other_processes_share', 'peaks'),
        *('sizes', 'ground', 'memory'),
    ]
    assert list(tiny.report['peaks']) == ['float32_gflop_per_s', 'copy_gb_per_s']
    assert list(tiny.report['sizes']) == ['32x64', '64x64']
    for figures in tiny.report['sizes'].values():
        assert list(figures) == [
            *('gflop', 'floor_ms', 'networks'),
            *('frame_to_mask_ms', 'around_mask_ms', 'frame_to_overlay_ms', 'around_overlay_ms'),
        ]
        assert list(figures['networks']) == NAMES
        for network in figures['networks'].values():
            assert list(network) == ['time_ms', 'speed', 'gflop', 'mask_pixels_changed']
    assert list(tiny.report['memory']) == ['size', *NAMES, 'segmenter']


def test_report_says_what_was_measured_on_what(tiny, wide_checkpoint_path):
    report = tiny.report
    assert report['rounds'] == 2
    assert report['threads'] == 1
    assert report['device'] == 'cpu'
    assert report['versions']['torch'] == torch.__version__
    sha256 = load_checkpoint(wide_checkpoint_path).sha256
    assert report['checkpoint_sha256'] == sha256
    assert sha256[:12] in tiny.printed


def test_times_are_in_order_and_the_whole_takes_longer_than_its_part(tiny):
    for figures in tiny.report['sizes'].values():
        for name in ('frame_to_mask_ms', 'around_mask_ms'):
            assert list(figures[name]) == ['least', 'q1', 'median', 'q3']
            assert figures[name]['least'] > 0
            assert list(figures[name].values()) == sorted(figures[name].values())
        assert figures['around_mask_ms']['median'] < figures['frame_to_mask_ms']['median']
        assert figures['networks']['eager']['speed'] == dict.fromkeys(
            ['least', 'q1', 'median', 'q3'], 1
        )
        for network in figures['networks'].values():
            assert network['mask_pixels_changed'] < 0.001


def test_floor_is_the_work_at_the_peak_or_the_bytes_at_the_copys_rate(tiny):
    flop_ms = 1e3 / tiny.report['peaks']['float32_gflop_per_s']
    copied_gb = 4 * variants.parameter_count(RoadFCNConfig()) / 1e9
    copied_ms = 1e3 * copied_gb / tiny.report['peaks']['copy_gb_per_s']
    for figures in tiny.report['sizes'].values():
        expected = max(figures['gflop'] * flop_ms, copied_ms)
        assert figures['floor_ms'] == {'float32': pytest.approx(expected, rel=0.02)}


def test_memory_is_that_of_processes_of_their_own(tiny):
    memory = tiny.report['memory']
    assert memory['size'] == '64x64'
    for name in (*NAMES, 'segmenter'):
        # The weights alone are 60 MiB.
        assert memory[name]['peak_mib'] > memory[name]['before_mib'] + 60


def test_printed_table_and_chart_show_the_report(tiny):
    lines = tiny.printed.splitlines()
    for size, figures in tiny.report['sizes'].items():
        start = next(i for i, line in enumerate(lines) if line.startswith(size))
        for name, line in zip(NAMES, lines[start + 1 :], strict=False):
            assert LABELS[name] in line
            assert line.split()[-6] == digits(figures['networks'][name]['time_ms']['median'])
    assert cv2.imread(str(tiny.out / 'bench.png')) is not None


def test_without_matplotlib_the_chart_is_missed(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'fcn_road_seg.viz.plots')
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    bench_run.draw(tiny.report, tmp_path)
    assert not (tmp_path / 'bench.png').exists()
    assert 'no chart' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--sizes', '250x256'], 'input height 250 is not a multiple of 32; use 256'),
        (['--sizes', '256'], "'256' is not HxW; give, for example, 192x640"),
        (['--frame', '0x10'], "'0x10' is not HxW"),
        (['--rounds', '-1'], "--rounds: '-1' is not a whole number of at least 0"),
        (['--threads', '-1'], "'-1' is not a whole number from 0 to 1024"),
        (['--parameter', 'threshold:=0.6'], '--parameter has no effect without --node'),
        (['--rounds', '0'], '--rounds 0 measures nothing without --node; add --node'),
        (['--rate', '0'], "--rate: '0' is not a positive number"),
        (['--seconds', 'inf'], "--seconds: 'inf' is not a positive number"),
        (['--networks', 'resnet'], "invalid choice: 'resnet'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(argv, text, capsys):
    with pytest.raises(SystemExit, match='2'):
        bench.main(argv)
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--checkpoint', '/nowhere.safetensors'], '/nowhere.safetensors does not exist'),
        (['--device', 'tpu'], "device 'tpu' is unknown"),
        (['--device', 'cpu', '--networks', 'float16'], 'float16 is not available on cpu'),
        (
            ['--out', '/dev/null/out'],
            r'/dev/null/out cannot be written to \(Not a directory\); use another folder',
        ),
        (['--frame', '1x1'], r'frames of 1x1 \(H x W\) cannot be rendered; use at least 16x16'),
        (['--frame', '24x1242'], r'frames of 24x1242 .* at most 8 times as wide as high'),
        (['--out', '/dev/null'], r'/dev/null cannot be written to \(Not a directory\); use ano'),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(argv, text, tmp_path):
    with pytest.raises(SystemExit, match=text) as ended:
        bench.main(['--out', str(tmp_path), *argv])
    assert str(ended.value).startswith('bench: ')
    assert '\n' not in str(ended.value)


WITHOUT_ROS = """
import sys
sys.modules['rclpy'] = None
from fcn_road_seg.commands import bench
bench.main(['--node', '--out', sys.argv[1]])
"""


def test_node_without_ros_is_refused_before_anything_is_measured(tmp_path):
    line = (sys.executable, '-c', WITHOUT_ROS, str(tmp_path / 'out'))
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith('bench: --node needs ROS 2 (')
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_times_are_kept_when_their_memory_cannot_be_measured(
    random_checkpoint_path, tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_run, 'measure_memory', interrupted)
    argv = ['--checkpoint', str(random_checkpoint_path), '--device', 'cpu', '--frame', '48x96']
    argv += ['--sizes', '32x64', '--networks', 'folded', '--rounds', '1', '--out', str(tmp_path)]
    assert bench.main(argv) == 130
    printed = capsys.readouterr()
    assert 'bench: interrupted' in printed.err
    assert '32x64, ' in printed.out
    assert '32x64' in json.loads((tmp_path / 'bench.json').read_text())['sizes']
    assert (tmp_path / 'bench.png').exists()
