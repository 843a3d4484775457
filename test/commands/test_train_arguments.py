import os

import pytest

from fcn_road_seg.commands import train

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training import road_frames


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--data', 'nowhere'], 'nowhere is not a folder'),
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
            r'skip scales \(1.0, nan\) are not all finite; use numbers such as 0.01',
        ),
        (
            ['--rendered', '4', '--cache-size', '-1'],
            'cache size -1.0 is not a number of',
        ),
        (['--rendered', '4', '--cache-size', 'inf'], 'cache size inf is not a number of'),
        (['--rendered', '4', '--cache', '/proc/no'], '/proc/no cannot be written to'),
        (['--rendered', '4', '--seed', '-1'], r'seed -1 is not in 0\.\.4294967295'),
        (['--rendered', '4', '--seed', '4294967296'], r'seed 4294967296 is not in 0\.\.42949672'),
        (
            ['--rendered', '4', '--freeze', '-1'],
            'the encoder cannot be frozen for -1 steps; use 0 for none',
        ),
        (
            ['--rendered', '4', '--weights', 'hed', '--freeze-stages', '6'],
            '6 stages cannot be frozen; the encoder has 5',
        ),
        (
            ['--rendered', '4', '--freeze-stages', '2'],
            'stages with random weights cannot be frozen; give --weights',
        ),
        (
            ['--rendered', '4', '--weights', 'hed', '--freeze-norms'],
            '--weights hed has no batch norm statistics of the decoder to freeze; give a check',
        ),
        (
            ['--rendered', '4', '--freeze-norms'],
            '--weights none has no batch norm statistics of the decoder to freeze; give a check',
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
        ('a::b', '--out a::b has an environment variable or :: in its path; use another folder'),
        (
            'a$HOME',
            r'--out a\$HOME has an environment variable or :: in its path; use another folder',
        ),
        (os.fsdecode(b'caf\xe9'), '--out .* is not UTF-8; use another folder'),
    ],
)
def test_output_folder_that_cannot_be_used_is_refused(out, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit, match=f'^train: {reason}'):
        train.main(['--weights', 'none', '--rendered', '4', '--out', out])
    assert [path.name for path in tmp_path.iterdir()] == ['file']


@pytest.mark.parametrize('option', ['--steps', '--val-every', '--batch', '--patience'])
def test_count_below_1_is_refused(option, capsys):
    with pytest.raises(SystemExit, match='2'):
        train.main(['--rendered', '4', option, '0'])
    assert f"argument {option}: '0' is not a whole number of at least 1" in capsys.readouterr().err


def test_crop_of_another_form_is_refused_with_both_forms(capsys):
    with pytest.raises(SystemExit):
        train.main(['--rendered', '4', '--crop', 'whole'])
    assert "'whole' is not HxW; give, for example, 192x640, or input" in capsys.readouterr().err
