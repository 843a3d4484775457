import pytest

from fcn_road_seg.commands import bench, demo


@pytest.fixture(params=['demo', 'bench'])
def parse(request):
    """Parse the `--parameter`s of a command that starts the node."""

    def parse_parameters(*values):
        command = {'demo': demo, 'bench': bench}[request.param]
        more = ['--node'] if command is bench else []
        return command.parse_args([*more, *(f'--parameter={value}' for value in values)]).parameter

    return parse_parameters


@pytest.mark.parametrize(
    ('value', 'reason'),
    [
        ('treshold:=0.6', "the node has no parameter 'treshold'; did you mean threshold?"),
        ('fly:=1', "the node has no parameter 'fly'; fcn-road-seg segment --help lists them"),
        (
            'qos_overrides./image.subscription.depth:=5',
            "'qos_overrides./image.subscription.depth' has no effect here, because the topics "
            'have new names in each run; use it with fcn-road-seg segment',
        ),
        ('threshold=0.6', "'threshold=0.6' is not NAME:=VALUE; give e.g. device:=cpu"),
    ],
)
def test_parameter_that_the_node_would_ignore_is_refused(parse, value, reason, capsys):
    with pytest.raises(SystemExit, match='2'):
        parse(value)
    assert capsys.readouterr().err.endswith(f'error: argument --parameter: {reason}\n')


def test_parameters_of_the_node_and_of_ros_are_passed_on_as_they_are(parse):
    values = ['threshold:=0.6', 'use_sim_time:=false']
    assert parse(*values) == values
