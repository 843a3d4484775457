import argparse
from dataclasses import replace

import pytest

from fcn_road_seg.bench.run import run_bench
from fcn_road_seg.commands import bench, calibrate, evaluate, export, train
from fcn_road_seg.commands.arguments import (
    add_segmenter_arguments,
    add_split_arguments,
    build_segmenter,
    part_of,
    split_rule,
    whole_number,
)
from fcn_road_seg.datasets.splits import SplitRule
from fcn_road_seg.model import activation_ranges, onnx_export
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_split_arguments(parser)
    return split_rule(parser.parse_args(arguments))


def test_arguments_become_a_split_rule():
    assert parsed() == SplitRule()
    expected = SplitRule(val_fraction=0.5, hold_out=('a', 'b'))
    assert parsed('--val-fraction=0.5', '--hold-out', 'a', 'b') == expected
    assert parsed('--fold=2/5', '--hold-out', 'a') == SplitRule(fold=(2, 5), hold_out=('a',))


@pytest.mark.parametrize('command', [calibrate, evaluate, train])
def test_fold_beside_a_share_that_it_would_replace_is_refused(command, capsys):
    with pytest.raises(SystemExit, match='2'):
        # That it is the default makes no difference.
        command.main(['--data', '.', '--out', 'no', '--fold', '1/5', '--val-fraction', '0.2'])
    assert '--val-fraction: not allowed with argument --fold' in capsys.readouterr().err


def test_part_is_k_of_n():
    assert part_of('3/40') == (3, 40)


@pytest.mark.parametrize('text', ['0/4', '5/4', '4', '1/', '-1/4', 'a/b'])
def test_part_that_is_not_k_of_n_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not K/N; use, for example, 1/5'):
        part_of(text)


def test_fold_that_is_not_k_of_n_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        parsed('--fold=6/5')
    assert "--fold: '6/5' is not K/N; use, for example, 1/5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('parse', 'text', 'limits'),
    [
        (whole_number(1), '0', 'of at least 1'),
        # The maximum is of interest only to those who exceed it.
        (whole_number(1), '2000000000', 'from 1 to 1000000000'),
        (whole_number(0, 9), '-1', 'from 0 to 9'),
        (whole_number(0, 9), '10', 'from 0 to 9'),
    ],
)
def test_number_out_of_its_range_is_told_the_range(parse, text, limits):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not .* number {limits}$"):
        parse(text)


def test_segmenter_of_a_command_runs_the_checkpoint_called_lite(installed_lite):
    parser = argparse.ArgumentParser()
    add_segmenter_arguments(parser)
    segmenter = build_segmenter(parser.parse_args(['--checkpoint=lite', '--device=cpu']))
    assert segmenter.checkpoint_sha256 == load_checkpoint(installed_lite).sha256


def test_segmenter_of_a_command_runs_the_file_lite_given_as_a_path(
    installed_lite, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    narrow = Checkpoint(RoadFCN(RoadFCNConfig(width=0.25)).eval(), InputRule(pixels=6144))
    save_checkpoint(narrow, 'lite')
    parser = argparse.ArgumentParser()
    add_segmenter_arguments(parser)
    segmenter = build_segmenter(parser.parse_args(['--checkpoint=./lite', '--device=cpu']))
    assert segmenter.checkpoint_sha256 == load_checkpoint('./lite').sha256


def test_calibrate_copies_the_checkpoint_called_lite(installed_lite, tmp_path, monkeypatch):
    monkeypatch.setattr(activation_ranges, 'FRAME_COUNT', 1)
    out = tmp_path / 'calibrated.safetensors'
    assert calibrate.main(['--checkpoint', 'lite', '--out', str(out)]) == 0
    assert load_checkpoint(out).sha256 == load_checkpoint(installed_lite).sha256


def test_export_names_its_file_after_the_checkpoint_called_lite(
    installed_lite, tmp_path, monkeypatch
):
    exported = []

    def export_onnx(checkpoint, out):
        exported.append((checkpoint, out))
        out.touch()

    monkeypatch.setattr(onnx_export, 'export_onnx', export_onnx)
    monkeypatch.chdir(tmp_path)
    assert export.main(['--checkpoint', 'lite']) == 0
    ((checkpoint, out),) = exported
    assert checkpoint.sha256 == load_checkpoint(installed_lite).sha256
    assert out.name == 'road_fcn8_lite.onnx'


def test_bench_measures_the_checkpoint_called_lite(installed_lite, tmp_path):
    args = bench.parse_args(['--checkpoint=lite', '--frame=32x32', '--device=cpu'])
    options = replace(bench.build_options(args), out=tmp_path, rounds=0)
    sha256 = load_checkpoint(installed_lite).sha256
    head = ' '.join(run_bench(options))
    assert f'checkpoint {sha256[:12]}, camera frames 32x32' in head


@pytest.mark.parametrize('command', [bench, calibrate, export])
def test_light_checkpoint_that_is_missing_is_one_line(
    installed_lite, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    installed_lite.unlink()
    with pytest.raises(
        SystemExit, match=r'^[a-z]+: the lite checkpoint road_fcn8_lite.* is not installed; give'
    ):
        command.main(['--checkpoint=lite', *(['--out=a.safetensors'] * (command is calibrate))])
