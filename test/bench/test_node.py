import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fcn_road_seg.bench.errors import NodeBenchError
from fcn_road_seg.bench.node import watched_node
from fcn_road_seg.commands import bench


def test_live_node_is_measured_with_the_overlay_off_and_on(
    random_checkpoint_path, tmp_path, capsys
):
    argv = ['--node', '--rounds', '0', '--frames', '6', '--rate', '5', '--frame', '48x96']
    argv += ['--device', 'cpu', '--parameter', 'threshold:=0.4', '--out', str(tmp_path)]
    assert bench.main(['--checkpoint', str(random_checkpoint_path), *argv]) == 0
    report = json.loads((tmp_path / 'bench.json').read_text())['node']
    printed = capsys.readouterr().out
    for name in ('overlay_off', 'overlay_on'):
        node = report[name]
        assert node['frames_sent'] == 6
        assert node['frames_received'] == 6
        assert node['frames_segmented'] + node['frames_dropped'] == 6
        assert node['frames_refused'] == 0
        assert 1 <= node['masks_received'] <= node['frames_segmented']
        latency_ms, inference_ms = node['mask_latency_ms'], node['inference_ms']
        assert 0 < latency_ms['p50'] <= latency_ms['p95'] <= latency_ms['p99']
        assert 0 < inference_ms['p50'] <= inference_ms['p99']
        assert node['cpu_ms_per_frame'] > 0
        # PyTorch alone takes this much.
        assert node['peak_memory_mib'] > 150
        assert f'{name.replace("_", " ")}: 6 sent' in printed
        assert (tmp_path / f'{name}.log').read_text()
    assert 'overlay_latency_ms' not in report['overlay_off']
    assert report['overlay_on']['overlays_received'] >= 1
    assert 'threshold:=0.4' in report['parameters']


def test_node_that_cannot_start_is_told_at_once(tmp_path):
    frames_bgr = np.zeros((1, 32, 32, 3), np.uint8)
    log_path = tmp_path / 'node.log'
    parameters = ['checkpoint:=/nowhere.safetensors']
    with (
        pytest.raises(NodeBenchError, match=r'the node ended with status 1; .*node\.log may say'),
        watched_node(frames_bgr, parameters, log_path, overlay=False),
    ):
        pass
    assert '/nowhere.safetensors does not exist' in log_path.read_text()


def test_node_bench_that_is_ended_ends_its_node(random_checkpoint_path, tmp_path):
    command = [sys.executable, '-m', 'fcn_road_seg', 'bench', '--node', '--rounds', '0']
    command += ['--checkpoint', random_checkpoint_path, '--device', 'cpu', '--out', tmp_path]
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


def no_camera(path, topic, link):
    """End at the first command, as a camera process that fails."""
    link.recv()


def test_camera_that_ends_is_told(random_checkpoint_path, tmp_path, monkeypatch):
    monkeypatch.setattr('fcn_road_seg.bench.node.run_camera', no_camera)
    with (
        pytest.raises(NodeBenchError, match='lost its camera'),
        watched_node(
            np.zeros((1, 32, 32, 3), np.uint8),
            [f'checkpoint:={random_checkpoint_path}'],
            tmp_path / 'node.log',
            overlay=False,
        ),
    ):
        pass
