import csv
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch

from fcn_road_seg.commands import train
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.evaluation.metrics import RoadHistogram
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import (
    Checkpoint,
    Provenance,
    load_checkpoint,
    save_checkpoint,
)
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.road_fcn import RoadFCN, RoadFCNConfig
from test.helpers.easy_data import TINY, write_easy_data
from test.helpers.killed_training import (
    assert_same_run,
    finish,
    kill_after_a_checkpoint,
    start_training,
)
from test.helpers.reference import model_of

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training import road_frames
from fcn_road_seg.training import run as training_run
from fcn_road_seg.training.lightning_module import RoadTraining

OTHER_NETWORK = 'has another network; give the --encoder, --fcn, --width and --context'


@pytest.fixture(scope='module')
def easy_data(tmp_path_factory):
    return write_easy_data(tmp_path_factory.mktemp('easy'))


def test_training_without_validation_frames_says_so_and_still_gives_a_checkpoint(
    easy_data, tmp_path, caplog, monkeypatch
):
    # Lightning's logger passes nothing on.
    monkeypatch.setattr(logging.getLogger('lightning.pytorch'), 'propagate', True)
    arguments = ['--data', str(easy_data), '--val-fraction', '0', '--crop', '32x32']
    train.main([*TINY, *arguments, '--steps', '1', '--val-every', '1', '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').provenance.metrics == {}
    assert 'train: no data set has validation frames: there will be no IoU' in caplog.text


@pytest.fixture(scope='module')
def trained(easy_data, tmp_path_factory):
    """The checkpoint of a run of 120 steps, at a threshold of 0.7."""
    out = tmp_path_factory.mktemp('trained')
    arguments = ['--data', str(easy_data), '--crop', '32x64', '--out', str(out)]
    arguments += ['--steps', '120', '--val-every', '120', '--threshold', '0.7']
    assert train.main([*TINY, *arguments, '--licence', 'made up']) == 0
    return load_checkpoint(out / 'road_fcn.safetensors')


def test_training_learns_an_easy_task(trained, easy_data):
    assert trained.provenance.metrics[easy_data.name]['iou'] > 0.8


def test_checkpoint_names_its_data_and_their_licence(trained, easy_data):
    assert f'{easy_data.name} (8 frames)' in trained.provenance.training_data
    assert trained.provenance.licence == 'made up'


def test_checkpoint_has_the_input_rule_and_the_threshold_of_the_run(trained):
    assert trained.input_rule.pixels == 6144
    assert trained.threshold == 0.7


def test_checkpoint_is_folded_and_ready_for_int8(trained):
    assert trained.model.config == RoadFCNConfig('vgg16', width=0.25)
    assert len(trained.activation_peaks) == 13


def test_checkpoint_records_how_far_other_precisions_agree(trained):
    # All machines have this one.
    assert 0.99 < trained.agreements['float16'].iou <= 1


@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_iou_in_the_checkpoint_is_that_of_its_masks_from_the_segmenter(
    easy_data, tmp_path, threshold
):
    # 64 x 96 frames are reduced to 32 x 64: a wrong way of resizing, or threshold, would show.
    arguments = ['--data', str(easy_data), '--crop', '32x64', '--out', str(tmp_path)]
    arguments += ['--steps', '40', '--val-every', '40', '--threshold', str(threshold)]
    train.main([*TINY, *arguments, '--pixels', '2048', '--accelerator', 'cpu'])
    path = tmp_path / 'road_fcn.safetensors'
    segmenter = RoadSegmenter(path, 'cpu', 'float32', backend='torch')
    histogram = RoadHistogram()
    for frame in find_frames(easy_data, 'val'):
        frame_rgb, label = frame.load()
        histogram.add(segmenter(frame_rgb, channel_order='rgb').mask, label)
    written = load_checkpoint(path).provenance.metrics[easy_data.name]['iou']
    assert 0.1 < written < 0.999
    assert written == pytest.approx(histogram.mask_measures(128).iou, abs=0.002)


@pytest.fixture(scope='module')
def teacher_path(tmp_path_factory):
    """A random network on plain vgg16 with context, of another input rule than the students'."""
    path = tmp_path_factory.mktemp('teacher') / 'teacher.safetensors'
    provenance = Provenance("the teacher's frames")
    model = model_of(RoadFCNConfig(context=True))
    save_checkpoint(Checkpoint(model, InputRule(fixed_hw=(64, 64)), provenance=provenance), path)
    return path


@pytest.fixture(scope='module')
def student_arguments(easy_data, teacher_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    return [*arguments, '--context', '--teacher', str(teacher_path)]


@pytest.fixture(scope='module')
def student_run(student_arguments, tmp_path_factory):
    """The folder of a student's run of four steps."""
    out = tmp_path_factory.mktemp('student')
    arguments = ['--steps', '4', '--val-every', '2', '--out', str(out)]
    assert train.main([*student_arguments, *arguments]) == 0
    return out


def test_student_is_a_narrow_network_that_names_its_teacher(student_run, teacher_path):
    checkpoint = load_checkpoint(student_run / 'road_fcn.safetensors')
    assert checkpoint.model.config == RoadFCNConfig('vgg16', context=True, width=0.25)
    teacher_sha256 = load_checkpoint(teacher_path).sha256
    assert checkpoint.provenance.training_data.endswith(
        f"; p(road) of checkpoint {teacher_sha256[:12]}, trained on the teacher's frames"
    )


@pytest.mark.parametrize('kind', ['state_dict', 'current_model_state'])
def test_run_of_a_student_holds_nothing_of_its_teacher(student_run, kind):
    saved = torch.load(student_run / 'last.ckpt', weights_only=True)
    student = RoadFCN(RoadFCNConfig('vgg16_bn', context=True, width=0.25))
    expected = {f'net.{name}' for name in student.state_dict()}
    assert {name for name in saved[kind] if not name.startswith('val_iou.')} == expected
    assert (student_run / 'last.ckpt').stat().st_size < 20e6


def test_resumed_student_ends_with_the_weights_of_an_uninterrupted_one(
    student_arguments, student_run, tmp_path, monkeypatch
):
    def cut_off(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 3:
            raise KeyError('power cut')

    arguments = [*student_arguments, '--steps', '4', '--val-every', '2', '--out', str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(RoadTraining, 'on_train_batch_end', cut_off)
        with pytest.raises(KeyError, match='power cut'):
            train.main(arguments)
    train.main([*arguments, '--resume', str(tmp_path / 'last.ckpt')])
    whole, cut = (torch.load(d / 'last.ckpt', weights_only=True) for d in (student_run, tmp_path))
    for name, tensor in whole['state_dict'].items():
        assert torch.equal(tensor, cut['state_dict'][name]), name


def test_student_of_another_weight_becomes_another_network(
    student_arguments, student_run, tmp_path
):
    arguments = [*student_arguments, '--steps', '4', '--val-every', '2', '--out', str(tmp_path)]
    train.main([*arguments, '--teacher-weight', '0.5'])
    one, other = (load_checkpoint(d / 'road_fcn.safetensors') for d in (student_run, tmp_path))
    assert one.sha256 != other.sha256


def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    easy_data, tmp_path, monkeypatch
):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32']
    arguments += ['--steps', '6', '--val-every', '2', '--batch', '2']
    train.main([*arguments, '--out', str(tmp_path / 'whole')])

    def cut_off(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 5:
            raise KeyError('power cut')

    with monkeypatch.context() as patched:
        patched.setattr(RoadTraining, 'on_train_batch_end', cut_off)
        with pytest.raises(KeyError, match='power cut'):
            train.main([*arguments, '--out', str(tmp_path / 'cut')])
    last = tmp_path / 'cut/last.ckpt'
    assert torch.load(last, weights_only=True)['global_step'] == 4
    train.main([*arguments, '--out', str(tmp_path / 'cut'), '--resume', str(last)])
    whole, cut = (
        torch.load(tmp_path / run / 'last.ckpt', weights_only=True) for run in ('whole', 'cut')
    )
    assert cut['global_step'] == whole['global_step'] == 6
    for kind in ('state_dict', 'current_model_state'):
        assert whole[kind].keys() == cut[kind].keys()
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, cut[kind][name]), name
    moments = [ckpt['optimizer_states'][0]['state'] for ckpt in (whole, cut)]
    for number, state in moments[0].items():
        assert all(torch.equal(state[k], moments[1][number][k]) for k in state), number
    # The average is not the last weights.
    assert not torch.equal(
        whole['state_dict']['net.decoder.deconvs.0.weight'],
        whole['current_model_state']['net.decoder.deconvs.0.weight'],
    )


def test_killed_training_resumes_to_the_weights_of_an_unbroken_one(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--steps', '8', '--val-every', '2']
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    finish(start_training(arguments, whole))
    assert kill_after_a_checkpoint(arguments, cut, random.Random(1))
    # As if it had been killed while it wrote.
    (cut / 'last.ckpt.abcdefgh.part').write_bytes(b'half')
    finish(start_training(arguments, cut))
    assert_same_run(whole, cut)
    assert not list(cut.glob('*.part'))


@pytest.fixture(scope='module')
def short_run(easy_data, tmp_path_factory):
    """The folder of a run of two steps, and the arguments that gave it."""
    out = tmp_path_factory.mktemp('short') / 'run'
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '1']
    arguments += ['--val-every', '1', '--without', 'ema']
    train.main([*arguments, '--steps', '2', '--out', str(out)])
    return out, arguments


@pytest.mark.parametrize('place', ['where it was', 'elsewhere'])
def test_resumed_run_keeps_its_best_network_wherever_it_is(short_run, tmp_path, place):
    out, arguments = short_run
    run = tmp_path / 'run'
    if place == 'elsewhere':
        shutil.copytree(out, run)
    else:
        train.main([*arguments, '--steps', '2', '--out', str(run)])
    best = torch.load(run / 'best.ckpt', weights_only=True)
    # No network of the next step reaches this.
    best['val_iou_by_source'] = dict.fromkeys(best['val_iou_by_source'], 0.999)
    torch.save(best, run / 'best.ckpt')
    train.main([*arguments, '--steps', '3', '--out', str(run), '--resume', str(run / 'last.ckpt')])
    assert torch.load(run / 'last.ckpt', weights_only=True)['global_step'] == 3
    kept = torch.load(run / 'best.ckpt', weights_only=True)
    assert kept['global_step'] == best['global_step']
    (metrics,) = load_checkpoint(run / 'road_fcn.safetensors').provenance.metrics.values()
    assert metrics == {'iou': 0.999}


def test_resumed_run_without_its_best_network_makes_a_new_one(short_run, tmp_path):
    out, arguments = short_run
    run = tmp_path / 'run'
    shutil.copytree(out, run)
    (run / 'best.ckpt').unlink()
    train.main([*arguments, '--steps', '3', '--out', str(run), '--resume', str(run / 'last.ckpt')])
    assert torch.load(run / 'best.ckpt', weights_only=True)['global_step'] == 3


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (['--encoder', 'vgg16'], f'{OTHER_NETWORK} of its run'),
        (['--fcn', '32'], f'{OTHER_NETWORK} of its run'),
        (['--width', '0.5'], f'{OTHER_NETWORK} of its run'),
        (['--val-every', '2'], 'needs --val-every 1, that of its run'),
        (['--without', 'dice'], 'was trained without ema; give the options of its run'),
        (['--steps', '1'], 'is at step 2, beyond --steps 1; give more steps'),
    ],
)
def test_run_is_not_resumed_with_other_options(short_run, options, reason):
    out, arguments = short_run
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    command = [*arguments, '--steps', '4', '--out', str(out), '--resume', str(out / 'last.ckpt')]
    with pytest.raises(SystemExit, match=rf'^train: --resume {out}/last.ckpt {reason}$'):
        train.main([*command, *options])
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


@pytest.mark.parametrize('damaged', ['last.ckpt', 'best.ckpt'])
def test_damaged_checkpoint_is_named_before_a_run_is_resumed(short_run, tmp_path, damaged):
    out, arguments = short_run
    run = tmp_path / 'run'
    shutil.copytree(out, run)
    whole = (run / damaged).read_bytes()
    (run / damaged).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        SystemExit, match=rf'^train: .*{damaged} is no checkpoint of a run \(.*\); '
    ):
        train.main(
            [*arguments, '--steps', '4', '--out', str(run), '--resume', str(run / 'last.ckpt')]
        )


def test_file_of_another_kind_is_not_resumed(short_run, tmp_path):
    out, arguments = short_run
    network = tmp_path / 'road_fcn.safetensors'
    shutil.copy(out / network.name, network)
    with pytest.raises(SystemExit, match=r'road_fcn.safetensors is no checkpoint of a run'):
        train.main([*arguments, '--out', str(tmp_path), '--resume', str(network)])


@pytest.mark.parametrize('out', [['--out', 'B'], []])
def test_run_is_not_continued_in_the_folder_of_another(easy_data, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    for folder in ('A', 'B', 'train_out'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'last.ckpt').write_bytes(b'of another run')
    with pytest.raises(
        SystemExit,
        match=r'train: --resume A/last.ckpt is not of the run in .*; continue it with -',
    ):
        train.main([*TINY, '--data', str(easy_data), '--resume', 'A/last.ckpt', *out])
    assert {path.read_bytes() for path in tmp_path.glob('*/*')} == {b'of another run'}


@pytest.mark.parametrize(
    ('there', 'advice'),
    [([], 'start the run without --resume'), (['last.ckpt'], 'use --resume .*last.ckpt')],
)
def test_file_to_resume_that_is_missing_is_said_with_advice_that_holds(
    easy_data, tmp_path, there, advice
):
    for name in there:
        (tmp_path / name).write_bytes(b'a run')
    arguments = ['--data', str(easy_data), '--resume', str(tmp_path / 'no.ckpt')]
    with pytest.raises(SystemExit, match=rf'train: --resume .*no.ckpt does not exist; {advice}$'):
        train.main([*TINY, *arguments, '--out', str(tmp_path)])


@pytest.mark.parametrize('name', ['best.ckpt', 'road_fcn.safetensors'])
def test_network_of_a_run_is_not_overwritten_by_another(easy_data, tmp_path, name):
    (tmp_path / name).write_bytes(b'of another run')
    with pytest.raises(SystemExit, match=rf'holds another run \({name}\); use another --out$'):
        train.main([*TINY, '--data', str(easy_data), '--out', str(tmp_path)])
    assert (tmp_path / name).read_bytes() == b'of another run'


def test_run_is_not_overwritten_by_another(easy_data, tmp_path):
    (tmp_path / 'last.ckpt').write_bytes(b'of another run')
    with pytest.raises(
        SystemExit,
        match=r'train: .* holds another run \(last.ckpt\); continue it with --resume .*last.ckpt',
    ):
        train.main([*TINY, '--data', str(easy_data), '--out', str(tmp_path)])
    assert (tmp_path / 'last.ckpt').read_bytes() == b'of another run'


def test_loss_that_is_not_finite_ends_the_training_and_keeps_what_there_is(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--steps', '40', '--val-every', '1', '--out', str(tmp_path)]
    with pytest.raises(
        SystemExit, match=r'train: the loss is (nan|inf) at step \d+; lower --learn'
    ):
        train.main([*arguments, '--learning-rate', '1e30', '--without', 'clipping', 'warm-up'])
    kept = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert kept['global_step'] >= 1


def test_interrupted_training_says_in_one_line_how_to_continue(easy_data, tmp_path):
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *TINY, '--data', str(easy_data)]
    command += ['--crop', '32x32', '--steps', '100000', '--val-every', '1', '--out', str(tmp_path)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    last = tmp_path / 'last.ckpt'
    end_s = time.monotonic() + 120
    while not last.exists() and running.poll() is None and time.monotonic() < end_s:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, printed = running.communicate(timeout=60)
    assert running.returncode == 1
    said = printed.splitlines()[-1]
    assert re.fullmatch(
        rf'train: interrupted at step \d+; continue with --resume {re.escape(str(last))}', said
    )
    assert 'Traceback' not in printed
    assert torch.load(last, weights_only=True)['global_step'] >= 1


def test_run_without_a_better_network_ends_early_and_keeps_the_best(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '1']
    arguments += ['--steps', '9', '--val-every', '1', '--out', str(tmp_path), '--without', 'ema']
    # At this rate the weights, and so the masks, stay as they are.
    train.main([*arguments, '--learning-rate', '1e-12', '--freeze', '9', '--patience', '2'])
    steps = [
        torch.load(tmp_path / f'{name}.ckpt', weights_only=True)['global_step']
        for name in ('best', 'last')
    ]
    assert steps[0] < steps[1] < 9


def test_frozen_encoder_stays_as_it_is_statistics_included(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--steps', '2', '--val-every', '2', '--without', 'ema', '--width', '1']
    torch.manual_seed(3)
    start = RoadFCN(RoadFCNConfig(encoder='vgg16_bn'))
    weights = tmp_path / 'vgg16_bn.pth'
    torch.save(
        {f'features.{k}': v for k, v in start.encoder.features.state_dict().items()}, weights
    )
    for run, freeze in (('frozen', '2'), ('free', '1')):
        out = ['--out', str(tmp_path / run), '--freeze', freeze, '--weights', str(weights)]
        train.main([*arguments, *out])
    frozen, free = (
        torch.load(tmp_path / run / 'last.ckpt', weights_only=True)['state_dict']
        for run in ('frozen', 'free')
    )
    for name, tensor in start.encoder.state_dict().items():
        assert torch.equal(tensor, frozen[f'net.encoder.{name}']), name
    changed = {
        n for n, t in start.encoder.state_dict().items() if not t.equal(free[f'net.encoder.{n}'])
    }
    assert {'features.0.weight', 'features.1.running_mean'} <= changed


def test_frozen_stages_stay_as_they_are_and_the_others_learn(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--steps', '2', '--val-every', '2', '--without', 'ema', '--width', '1']
    arguments += ['--freeze-stages', '2']
    torch.manual_seed(3)
    start = RoadFCN(RoadFCNConfig(encoder='vgg16_bn'))
    weights = tmp_path / 'vgg16_bn.pth'
    torch.save(
        {f'features.{k}': v for k, v in start.encoder.features.state_dict().items()}, weights
    )
    train.main([*arguments, '--out', str(tmp_path / 'run'), '--weights', str(weights)])
    trained = torch.load(tmp_path / 'run' / 'last.ckpt', weights_only=True)['state_dict']
    same = {
        n for n, t in start.encoder.state_dict().items() if t.equal(trained[f'net.encoder.{n}'])
    }
    # Two stages of vgg16_bn are its layers 0 to 13.
    assert same == {n for n in start.encoder.state_dict() if int(n.split('.')[1]) <= 13}


def test_two_processes_train_one_network(easy_data, tmp_path):
    command = [
        sys.executable,
        '-m',
        'fcn_road_seg',
        'train',
        *TINY,
        '--data',
        str(easy_data),
    ]
    command += ['--crop', '32x32', '--batch', '2', '--steps', '2', '--val-every', '2']
    command += ['--devices', '2', '--out', str(tmp_path)]
    command += ['--strategy', 'ddp_find_unused_parameters_true', '--workers', '1']
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert 'distributed_backend=gloo' in ended.stderr
    # PyTorch's word on that strategy.
    assert 'find_unused_parameters=True was specified' in ended.stderr
    checkpoint = load_checkpoint(tmp_path / 'road_fcn.safetensors')
    assert 0 <= checkpoint.provenance.metrics[easy_data.name]['iou'] <= 1
    saved = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert saved['global_step'] == 2


def test_training_is_the_same_without_cache_and_workers_as_with_both(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--pixels', '2048']
    arguments += ['--batch', '2', '--steps', '4', '--val-every', '2']
    ways = {
        'plain': ['--cache-size', '0'],
        'cached': ['--cache', str(tmp_path / 'cache'), '--workers', '2'],
        'again': ['--cache', str(tmp_path / 'cache'), '--workers', '2'],
    }
    for name, way in ways.items():
        train.main([*arguments, *way, '--out', str(tmp_path / name)])
    plain, *others = (torch.load(tmp_path / name / 'last.ckpt') for name in ways)
    for other in others:
        assert other['val_iou_by_source'] == plain['val_iou_by_source']
        for name, tensor in plain['state_dict'].items():
            assert torch.equal(tensor, other['state_dict'][name]), name


def test_share_of_the_time_waited_for_frames_is_among_the_metrics(short_run):
    out, _ = short_run
    with (out / 'metrics/version_0/metrics.csv').open() as file:
        shares = [float(row['train/data_wait'] or -1) for row in csv.DictReader(file)]
    assert 0 < max(shares) < 1


def test_file_that_is_damaged_in_mid_run_is_named_in_one_line(easy_data, tmp_path, monkeypatch):
    data = tmp_path / 'data'
    shutil.copytree(easy_data, data)

    def damage(self):
        for path in data.glob('images/*'):
            path.write_bytes(b'damaged')

    monkeypatch.setattr(RoadTraining, 'on_train_start', damage)
    arguments = [*TINY, '--data', str(data), '--crop', '32x32', '--out', str(tmp_path / 'run')]
    with pytest.raises(
        SystemExit, match=r'^train: \S+images/\d.png cannot be read: .*; replace or remove it$'
    ):
        train.main([*arguments, '--cache-size', '0', '--workers', '1'])


def test_dry_run_goes_through_all_parts_on_a_few_frames_and_leaves_nothing(
    easy_data, tmp_path, capsys, monkeypatch
):
    written = []

    def note(options, training, sources, calibrate):
        written.append([len(source.train) for source in sources])
        return write_checkpoint(options, training, sources, calibrate)

    write_checkpoint = training_run.write_checkpoint
    monkeypatch.setattr(training_run, 'write_checkpoint', note)
    arguments = [*TINY, '--data', str(easy_data), '--rendered', '40=0.5', '--crop', '32x32']
    out = tmp_path / 'a/run'
    train.main([*arguments, '--out', str(out), '--fast-dev-run'])
    said = capsys.readouterr().out
    # The last part.
    assert 'train: float16 by torch' in said
    assert said.splitlines()[-1].startswith('train: dry run: all parts work; ')
    assert written == [[8, 8]]
    assert not list(tmp_path.iterdir())


def test_dry_run_refuses_what_the_real_run_would(short_run):
    out, arguments = short_run
    with pytest.raises(SystemExit, match=r'holds another run \(last.ckpt\)'):
        train.main([*arguments, '--out', str(out), '--fast-dev-run'])


def test_dry_run_of_a_resumed_run_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        train.main(['--rendered', '4', '--fast-dev-run', '--resume', 'last.ckpt'])
    assert 'leave --resume out' in capsys.readouterr().err


def test_run_leaves_curves_predictions_and_tensorboard_events(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--out', str(tmp_path)]
    train.main([*arguments, '--steps', '1', '--val-every', '1', '--batch', '1'])
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None
    # Two validation frames of 64 x 96 in a sheet of four columns.
    assert cv2.imread(str(tmp_path / 'predictions.png')).shape == (320, 4 * 480, 3)
    assert list(tmp_path.glob('tensorboard/version_0/events.*'))
    assert list(tmp_path.glob('metrics/version_0/metrics.csv'))


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--data', 'nowhere'], 'nowhere is not a known data set'),
        ([], 'nothing to train on; give --data'),
        (['--rendered', '4', '--val-fraction', '2'], r'val_fraction 2.0 is not in \[0, 1\)'),
        (['--rendered', '4', '--skip-scales', '1'], 'give one per skip'),
        (['--rendered', '4', '--pixels', '5'], 'pixel count 5 is too small'),
        (['--rendered', '4', '--weights', 'none.pth'], 'cannot load the weights none.pth'),
        (['--rendered', '4', '--teacher', 'no.safetensors'], 'no.safetensors does not exist; giv'),
        (['--rendered', '4', '--teacher-weight', '0'], 'teacher weight 0.0 is not a positive num'),
        (['--rendered', '4', '--teacher-weight', 'nan'], 'teacher weight nan is not a positive'),
        (
            ['--rendered', '4', '--width', '0.25', '--weights', 'hed'],
            '--weights hed is an encoder of width 1, not 0.25; use --weights none',
        ),
        (
            ['--rendered', '4', '--width', '0.5', '--weights', 'imagenet'],
            '--weights imagenet is an encoder of width 1, not 0.5; use --weights none',
        ),
        (
            ['--rendered', '4', '--accelerator', 'nothing'],
            '--accelerator nothing .* cannot be use',
        ),
        (
            ['--rendered', '4', '--accelerator', 'mps'],
            '--accelerator mps .* cannot be used on thi',
        ),
        (
            ['--rendered', '4', '--accelerator', 'cpu', '--devices', 'none'],
            '--devices none .* cann',
        ),
        (
            ['--rendered', '4', '--accelerator', 'cpu', '--devices', '0'],
            '--devices 0 .* cannot be',
        ),
        (
            ['--rendered', '4', '--precision', 'fp16'],
            "precision 'fp16' is unknown; use one of aut",
        ),
        (
            ['--rendered', '4', '--accelerator', 'cpu', '--precision', '16-mixed'],
            '16-mixed needs a GPU; use bf16-mixed',
        ),
        (['--rendered', '4', '--learning-rate', 'nan'], 'learning rate nan is not a positive num'),
        (['--rendered', '4', '--learning-rate', '-1'], 'learning rate -1.0 is not a positive num'),
        (['--rendered', '4', '--encoder-rate', '-1'], 'encoder rate -1.0 is not a number of at l'),
        (['--rendered', '4', '--encoder-rate', 'inf'], 'encoder rate inf is not a number of at l'),
        (
            ['--rendered', '4', '--skip-scales', '1', 'nan'],
            r'skip scales \(1.0, nan\) are not all',
        ),
        (
            ['--rendered', '4', '--cache-size', '-1'],
            'cache size -1.0 is not a number of',
        ),
        (['--rendered', '4', '--cache', '/proc/no'], '/proc/no cannot be written to'),
        (['--rendered', '4', '--seed', '-1'], r'seed -1 is not in 0\.\.4294967295'),
        (['--rendered', '4', '--seed', '4294967296'], r'seed 4294967296 is not in 0\.\.42949672'),
        (['--rendered', '4', '--freeze', '-1'], '-1 steps cannot be frozen; use 0 for none'),
        (
            ['--rendered', '4', '--weights', 'hed', '--freeze-stages', '6'],
            '6 stages cannot be frozen; the encoder has 5',
        ),
        (
            ['--rendered', '4', '--freeze-stages', '2'],
            'stages with random weights cannot be frozen; give --weights',
        ),
    ],
)
def test_error_in_the_arguments_is_one_line_before_training_starts(
    arguments, reason, tmp_path, monkeypatch
):
    def read(*_):
        raise AssertionError('the data were read')

    monkeypatch.setattr(road_frames.RoadFrames, '__init__', read)
    with pytest.raises(SystemExit, match=f'^train: .*{reason}.*$') as refused:
        train.main(['--weights', 'none', '--out', str(tmp_path), *arguments])
    assert '\n' not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('out', 'reason'),
    [
        ('/proc/no', r'/proc/no cannot be written to \(No such file or directory\); use another'),
        ('file/out', r'file/out cannot be written to \(Not a directory\); use another folder'),
        ('a::b', '--out a::b has a variable or :: in its path; use another folder'),
        ('a$HOME', r'--out a\$HOME has a variable or :: in its path; use another folder'),
        (os.fsdecode(b'caf\xe9'), '--out .* is not UTF-8; use another folder'),
    ],
)
def test_output_folder_that_cannot_be_used_is_refused(out, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit, match=f'^train: {reason}'):
        train.main(['--weights', 'none', '--rendered', '4', '--out', out])
    assert [path.name for path in tmp_path.iterdir()] == ['file']


@pytest.mark.parametrize('name', ['50 %d #1?=2', "'$x_{\n*[b]"])
def test_paths_of_any_characters_are_read_and_written(name, easy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Lightning would take a relative path that begins so for a URL.
    home = Path(f'http{name}')
    data = home / os.fsdecode(b'caf\xe9=2024')
    shutil.copytree(easy_data, data)
    arguments = [*TINY, '--data', str(data), '--crop', '32x32', '--batch', '1', '--val-every', '1']
    arguments += ['--out', str(home / 'run')]
    assert train.main([*arguments, '--steps', '1']) == 0
    assert train.main([*arguments, '--steps', '2', '--resume', str(home / 'run/last.ckpt')]) == 0
    checkpoint = load_checkpoint(home / 'run/road_fcn.safetensors')
    assert list(checkpoint.provenance.metrics) == ['caf\\xe9=2024']
    written = {path.name for path in (home / 'run').iterdir()}
    assert written == {
        *('best.ckpt', 'last.ckpt', 'road_fcn.safetensors', 'metrics', 'tensorboard'),
        *('curves.png', 'predictions.png'),
    }
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


def test_lightning_warns_of_nothing_and_advertises_nothing(easy_data, tmp_path):
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *TINY, '--data', str(easy_data)]
    command += ['--crop', '32x32', '--batch', '1', '--steps', '1', '--out', str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line and 'frame/s' not in line]
    said = [line for line in lines if not line.startswith('train: ')]
    assert len(said) <= 2, said
    assert said[0].startswith('GPU available: ')
    assert 'stopped' in said[-1]


@pytest.mark.parametrize('option', ['--steps', '--val-every', '--batch', '--patience'])
def test_count_below_1_is_refused(option, capsys):
    with pytest.raises(SystemExit, match='2'):
        train.main(['--rendered', '4', option, '0'])
    assert f"argument {option}: '0' is not a whole number of at least 1" in capsys.readouterr().err


def test_classic_recipe_sees_whole_frames_at_256_by_256(easy_data, tmp_path):
    arguments = ['--data', str(easy_data), '--recipe', 'classic', '--batch', '1', '--steps', '1']
    train.main([*TINY[:2], *TINY[4:], *arguments, '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').input_rule.fixed_hw == (256, 256)
