import signal

import pytest

from fcn_road_seg.commands import train
from fcn_road_seg.inference import calibration
from test.helpers.easy_data import TINY

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training import run as training_run


def test_dry_run_goes_through_all_parts_on_a_few_frames_and_leaves_nothing(
    easy_data, tmp_path, capsys, monkeypatch
):
    written, calibrated = [], []

    def note(options, training, sources, calibrate):
        written.append([len(source.train) for source in sources])
        return write_checkpoint(options, training, sources, calibrate)

    def note_frames(checkpoint, frames_rgb, say):
        calibrated.append(len(frames_rgb))
        return calibrate(checkpoint, frames_rgb, say)

    write_checkpoint, calibrate = training_run.write_checkpoint, calibration.calibrate
    monkeypatch.setattr(training_run, 'write_checkpoint', note)
    monkeypatch.setattr(calibration, 'calibrate', note_frames)
    arguments = [*TINY, '--data', str(easy_data), '--rendered', '40=0.5', '--crop', '32x32']
    out = tmp_path / 'a/run'
    train.main([*arguments, '--out', str(out), '--fast-dev-run'])
    said = capsys.readouterr().out
    # The last part.
    assert 'train: float16 by torch' in said
    assert said.splitlines()[-1].startswith('train: dry run: all parts work; ')
    assert written == [[8, 8]]
    # All 16 would take most of the time.
    assert calibrated == [2]
    assert not list(tmp_path.iterdir())


def test_dry_run_refuses_what_the_real_run_would(short_run):
    out, arguments = short_run
    with pytest.raises(SystemExit, match=r'holds another run \(last.ckpt\)'):
        train.main([*arguments, '--out', str(out), '--fast-dev-run'])


def test_interrupted_dry_run_offers_no_folder_that_is_gone(
    easy_data, tmp_path, capsys, monkeypatch
):
    def interrupt(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(calibration, 'calibrate', interrupt)
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--out', str(tmp_path)]
    assert train.main([*arguments, '--fast-dev-run']) == 130
    assert capsys.readouterr().err.splitlines()[-1] == 'train: interrupted; nothing is kept'
    assert not list(tmp_path.iterdir())


def test_dry_run_of_a_resumed_run_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        train.main(['--rendered', '4', '--fast-dev-run', '--resume', 'last.ckpt'])
    assert 'leave --resume out' in capsys.readouterr().err
