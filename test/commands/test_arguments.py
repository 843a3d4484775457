import argparse

import pytest

from fcn_road_seg.commands.arguments import add_split_arguments, split_rule
from fcn_road_seg.datasets.splits import SplitRule


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_split_arguments(parser)
    return split_rule(parser.parse_args(arguments))


def test_arguments_become_a_split_rule():
    assert parsed() == SplitRule()
    expected = SplitRule(val_fraction=0.5, fold=(2, 5), hold_out=('a', 'b'))
    assert parsed('--val-fraction=0.5', '--fold=2/5', '--hold-out', 'a', 'b') == expected


@pytest.mark.parametrize('fold', ['2', '2/', 'a/b', '-1/5'])
def test_fold_that_is_not_k_of_n_is_refused(fold):
    with pytest.raises(ValueError, match='is not K/N; use, for example, 1/5 for the first'):
        parsed(f'--fold={fold}')
