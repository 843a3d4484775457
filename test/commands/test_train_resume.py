import shutil
import signal

import pytest
import torch

from fcn_road_seg.commands import train
from fcn_road_seg.inference import calibration
from fcn_road_seg.model.checkpoint import load_checkpoint
from test.helpers.easy_data import TINY

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.lightning_module import RoadTraining

OTHER_NETWORK = 'has another network; give the --encoder, --fcn, --width, --overlap and --context'


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


def test_network_names_the_data_of_its_initial_weights_and_of_the_run_before(
    short_run, easy_data, tmp_path
):
    def train_on(data, out, *options):
        assert train.main([*arguments, '--data', str(data), '--out', str(out), *options]) == 0
        return load_checkpoint(out / 'road_fcn.safetensors').provenance.training_data

    run, arguments = short_run
    other, resumed = tmp_path / 'other', tmp_path / 'run'
    shutil.copytree(easy_data, other)
    shutil.copytree(run, resumed)
    own = f'{easy_data.name} (8 frames)'
    both = f'other (8 frames); initial weights trained on {own}'
    for weights, encoder in (('road_fcn.safetensors', 'vgg16'), ('best.ckpt', 'vgg16_bn')):
        options = ['--weights', str(run / weights), '--encoder', encoder, '--steps', '1']
        assert train_on(other, tmp_path / weights, *options) == both
    # The same data are not named twice.
    assert train_on(easy_data, tmp_path / 'own', *options) == own
    resume = ['--resume', str(resumed / 'last.ckpt'), '--steps']
    assert train_on(other, resumed, *resume, '3') == both
    assert train_on(other, resumed, *resume, '4') == both


def test_training_interrupted_after_its_last_step_is_continued_to_its_network(
    short_run, tmp_path, capsys, monkeypatch
):
    def interrupt(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    _, arguments = short_run
    arguments = [*arguments, '--steps', '2', '--out', str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(calibration, 'calibrate', interrupt)
        assert train.main(arguments) == 130
    last = tmp_path / 'last.ckpt'
    said = f'train: interrupted at step 2; continue with --resume {last}'
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert not (tmp_path / 'road_fcn.safetensors').exists()
    assert train.main([*arguments, '--resume', str(last)]) == 0
    load_checkpoint(tmp_path / 'road_fcn.safetensors')


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
        (
            ['--skip-scales', '0.01', '0.001'],
            'was trained with other skip scales; give --skip-scales 1.0 1.0',
        ),
        (['--val-every', '2'], 'needs --val-every 1, as in its run'),
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


def test_run_with_other_skip_scales_initialises_no_network(short_run, tmp_path):
    out, arguments = short_run
    best = out / 'best.ckpt'
    command = [*arguments, '--weights', str(best), '--skip-scales', '0.01', '0.001']
    reason = f'{best} was trained with other skip scales; give --skip-scales 1.0 1.0'
    with pytest.raises(SystemExit, match=f'^train: {reason}$'):
        train.main([*command, '--out', str(tmp_path / 'run')])


@pytest.mark.parametrize('damaged', ['last.ckpt', 'best.ckpt'])
def test_damaged_checkpoint_is_named_before_a_run_is_resumed(short_run, tmp_path, damaged):
    out, arguments = short_run
    run = tmp_path / 'run'
    shutil.copytree(out, run)
    whole = (run / damaged).read_bytes()
    (run / damaged).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        SystemExit, match=rf'^train: .*{damaged} is not a checkpoint of a run \(.*\); '
    ):
        train.main(
            [*arguments, '--steps', '4', '--out', str(run), '--resume', str(run / 'last.ckpt')]
        )


def test_file_of_another_kind_is_not_resumed(short_run, tmp_path):
    out, arguments = short_run
    network = tmp_path / 'road_fcn.safetensors'
    shutil.copy(out / network.name, network)
    with pytest.raises(SystemExit, match=r'road_fcn.safetensors is not a checkpoint of a run'):
        train.main([*arguments, '--out', str(tmp_path), '--resume', str(network)])


@pytest.mark.parametrize('out', [['--out', 'B'], []])
def test_run_is_not_continued_in_the_folder_of_another(easy_data, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    for folder in ('A', 'B', 'train_out'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'last.ckpt').write_bytes(b'of another run')
    with pytest.raises(
        SystemExit,
        match=r'train: --resume A/last.ckpt is not from the run in .*; continue it with -',
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
