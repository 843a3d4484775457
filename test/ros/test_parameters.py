import itertools
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.ros.parameters import PARAMETERS, ParameterError, check_together

BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
REPOSITORY = Path(__file__).parents[2]


def test_every_default_is_allowed():
    for parameter in PARAMETERS:
        parameter.check(parameter.default)
    check_together({p.name: p.default for p in PARAMETERS})


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('input_height', 100, 'input_height 100 is not a multiple of 32; use 96'),
        ('input_height', 8, 'not a multiple of 32; use 32'),
        ('input_width', -32, 'input_width -32 is too small; use at least 0'),
        ('threshold', 1.0, 'threshold 1.0 is too large; use at most 0.999'),
        ('threshold', float('nan'), 'threshold nan is too small'),
        ('threshold', 1, 'threshold 1 is not a decimal number; use a value such as 0.0'),
        ('precision', 'float8', "'float8' is unknown; use one of auto, float32"),
        ('overlay_color', [0, 255], r'overlay_color \[0, 255\] has 2 items; use 3'),
        ('overlay_color', [0, 256, 0], '256 is too large'),
        ('num_threads', True, 'num_threads True is not an integer; use a value such as 0'),
    ],
)
def test_refusal_names_the_value_and_the_remedy(name, value, message):
    with pytest.raises(ParameterError, match=message):
        BY_NAME[name].check(value)


def test_input_size_needs_both_sides():
    with pytest.raises(ParameterError, match='do not fit together; set both or neither'):
        check_together({'input_height': 256, 'input_width': 0})


@given(st.floats(min_value=0.0, max_value=0.999))
def test_every_threshold_in_range_is_allowed(value):
    BY_NAME['threshold'].check(value)


def test_config_file_holds_every_parameter_at_its_default():
    stored = yaml.safe_load((REPOSITORY / 'config' / 'segment.yaml').read_text())
    values = stored['/**']['ros__parameters']
    assert values == {p.name: p.default for p in PARAMETERS}
    assert list(values) == [p.name for p in PARAMETERS]


def test_reference_tables_every_parameter_as_it_is():
    lines = (REPOSITORY / 'docs' / 'node.md').read_text().splitlines()
    begin = lines.index('| parameter | allowed | default | what it does |') + 2
    rows = list(itertools.takewhile(lambda line: line.startswith('|'), lines[begin:]))
    for parameter, row in zip(PARAMETERS, rows, strict=True):
        default = parameter.default
        shown = default or "''" if isinstance(default, str) else json.dumps(default)
        mark = '*' if parameter.dynamic else ''
        assert row == (
            f'| `{parameter.name}`{mark} | {parameter.allowed} | `{shown}` '
            f'| {parameter.description} |'
        )
