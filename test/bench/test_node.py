import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from fcn_road_seg.commands import bench


@pytest.fixture(scope='module')
def measured(wide_checkpoint_path, tmp_path_factory):
    """A real run of six frames without and six with the overlay: its folder and its output."""
    out = tmp_path_factory.mktemp('bench')
    (out / 'bench.png').touch()
    argv = ['--node', '--rounds', '0', '--frames', '6', '--rate', '5', '--frame', '48x96']
    argv += ['--device', 'cpu', '--parameter', 'threshold:=0.4', '--out', str(out)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert bench.main(['--checkpoint', str(wide_checkpoint_path), *argv]) == 0
    report = json.loads((out / 'bench.json').read_text())['node']
    return SimpleNamespace(out=out, printed=printed.getvalue(), report=report)


@pytest.fixture(params=['overlay_off', 'overlay_on'])
def name(request):
    return request.param


def test_every_frame_is_accounted_for(measured, name):
    node = measured.report[name]
    assert node['frames_sent'] == 6
    assert node['frames_received'] == 6
    assert node['frames_segmented'] + node['frames_dropped'] == 6
    assert node['frames_refused'] == 0
    assert 1 <= node['masks_received'] <= node['frames_segmented']


def test_chart_of_an_earlier_run_is_not_left_beside_other_figures(measured):
    assert not (measured.out / 'bench.png').exists()


def test_percentiles_are_in_order(measured, name):
    node = measured.report[name]
    for key in ('mask_latency_ms', 'inference_ms'):
        assert 0 < node[key]['p50'] <= node[key]['p95'] <= node[key]['p99']


def test_inference_takes_less_than_the_whole_latency(measured, name):
    node = measured.report[name]
    assert node['inference_ms']['p50'] < node['mask_latency_ms']['p99']


def test_cpu_time_and_memory_are_the_nodes(measured, name):
    node = measured.report[name]
    assert node['cpu_ms_per_frame'] > 0
    # The imports and the weights take about 60 MiB each, and ncnn copies the weights.
    assert node['peak_memory_mib'] > 150


def test_figures_are_printed_and_the_log_is_kept(measured, name):
    assert f'{name.replace("_", " ")}: 6 sent' in measured.printed
    assert (measured.out / f'{name}.log').read_text()


def test_overlay_is_received_only_when_it_is_on(measured):
    assert 'overlay_latency_ms' not in measured.report['overlay_off']
    assert measured.report['overlay_on']['overlays_received'] >= 1


def test_report_has_the_parameters_of_the_node(measured):
    assert 'threshold:=0.4' in measured.report['parameters']


def test_interrupted_bench_ends_its_node(wide_checkpoint_path, tmp_path):
    command = [sys.executable, '-m', 'fcn_road_seg', 'bench', '--node', '--rounds', '0']
    command += ['--checkpoint', wide_checkpoint_path, '--device', 'cpu', '--out', tmp_path]
    log_path = tmp_path / 'overlay_off.log'
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            if log_path.exists() and 'waiting for frames' in log_path.read_text():
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        _, error = run.communicate(timeout=30)
    assert run.returncode == 130
    assert 'bench: interrupted' in error.decode()
    assert 'Traceback' not in error.decode()
    # Its last words.
    assert 'frames: ' in log_path.read_text()
