from dataclasses import FrozenInstanceError
from typing import get_args, get_origin, get_type_hints

import pytest
from rclpy.parameter import Parameter as RosParameter

from fcn_road_seg.ros.node_parameters import NodeParameters
from fcn_road_seg.ros.parameters import PARAMETERS, ParameterError

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


@pytest.fixture
def parameters():
    return NodeParameters(**DEFAULTS)


def test_fields_are_the_parameters_with_the_types_of_their_defaults():
    types = get_type_hints(NodeParameters)
    assert list(types) == list(DEFAULTS)
    for name, default in DEFAULTS.items():
        assert (get_origin(types[name]) or types[name]) is type(default), name
    assert get_args(types['overlay_color']) == (int,)


def test_input_size_is_none_by_default(parameters):
    assert parameters.input_hw is None


def test_input_size_is_height_and_width():
    parameters = NodeParameters(**{**DEFAULTS, 'input_height': 352, 'input_width': 1216})
    assert parameters.input_hw == (352, 1216)


def test_values_that_do_not_fit_together_are_refused():
    with pytest.raises(ParameterError, match='input_height 352 and input_width 0'):
        NodeParameters(**{**DEFAULTS, 'input_height': 352})


def test_changes_give_new_parameters_and_keep_the_old_ones(parameters):
    changes = [
        RosParameter('overlay_color', value=[1, 2, 3]),
        RosParameter('threshold', value=0.5),
    ]
    changed = parameters.with_changes(changes)
    assert (changed.overlay_color, changed.threshold) == ([1, 2, 3], 0.5)
    assert (parameters.overlay_color, parameters.threshold) == ([0, 255, 0], 0.0)


def test_change_that_is_not_allowed_is_refused(parameters):
    with pytest.raises(ParameterError, match=r'threshold 1\.5 is too large; use at most 0\.999'):
        parameters.with_changes([RosParameter('threshold', value=1.5)])


def test_changes_of_other_parameters_are_skipped(parameters):
    assert parameters.with_changes([RosParameter('use_sim_time', value=True)]) == parameters


def test_parameters_cannot_be_assigned(parameters):
    with pytest.raises(FrozenInstanceError):
        parameters.threshold = 0.5
