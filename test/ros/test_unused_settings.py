import pytest
import rclpy

from fcn_road_seg.ros.node_parameters import declare_parameters
from fcn_road_seg.ros.unused_settings import (
    warn_of_unused_qos_overrides,
    warn_of_unused_settings,
)


@pytest.fixture
def warnings_of(monkeypatch):
    """Return what the node warns of, given ROS arguments: `warnings_of('-p', 'a:=1')`."""
    contexts = []

    def warn(*ros_args, namespace='', warn_of=None):
        argv = ['segment', '--ros-args', *ros_args, '--', 'other']
        context = rclpy.Context()
        context.init(argv)
        contexts.append(context)
        node = rclpy.create_node('fcn_road_seg', context=context, namespace=namespace)
        declare_parameters(node)
        told = []
        monkeypatch.setattr(node.get_logger(), 'warning', told.append)
        warn_of(node) if warn_of else warn_of_unused_settings(node, argv)
        return told

    yield warn
    for context in contexts:
        context.shutdown()


@pytest.fixture
def params_file(tmp_path):
    def write(text):
        path = tmp_path / 'params.yaml'
        path.write_text(text)
        return path

    return write


def test_parameters_of_the_node_and_of_ros_are_no_typos(warnings_of):
    names = {
        'threshold': 0.6,
        'use_sim_time': 'true',
        'start_type_description_service': 'false',
        'qos_overrides./image.subscription.depth': 5,
    }
    assert warnings_of(*(a for n, v in names.items() for a in ('-p', f'{n}:={v}'))) == []


def test_misspelt_parameter_is_told_with_the_nearest_name(warnings_of):
    text = 'parameter treshold is unknown and has no effect; did you mean threshold?'
    assert warnings_of('-p', 'treshold:=0.6') == [text]


def test_misspelt_parameter_of_a_file_is_told_with_the_nearest_name(warnings_of, params_file):
    path = params_file('/**:\n  ros__parameters:\n    treshold: 0.6\n    device: cpu\n')
    text = 'parameter treshold is unknown and has no effect; did you mean threshold?'
    assert warnings_of('--params-file', str(path)) == [text]


def test_parameter_unlike_any_is_told_without_advice(warnings_of):
    assert warnings_of('-p', 'fps:=10') == ['parameter fps is unknown and has no effect']


@pytest.mark.parametrize('topic', ['image', 'camera_info'])
def test_topic_given_as_a_parameter_is_told_with_the_remapping(warnings_of, topic):
    text = f'{topic} is a topic, not a parameter; set it with -r {topic}:=/cam'
    assert warnings_of('-p', f'{topic}:=/cam') == [text]


def test_file_for_another_node_is_told_with_the_section_to_name(warnings_of, params_file):
    path = params_file('road:\n  ros__parameters: {threshold: 0.6}\n')
    assert warnings_of('--params-file', str(path)) == [
        f'{path} has no effect: its parameters are for /road, and this node is /fcn_road_seg; '
        'name the section /fcn_road_seg or /**'
    ]


def test_file_without_the_namespace_of_the_node_is_told(warnings_of, params_file):
    path = params_file('fcn_road_seg:\n  ros__parameters: {threshold: 0.6}\n')
    (text,) = warnings_of('--params-file', str(path), namespace='front')
    assert 'its parameters are for /fcn_road_seg, and this node is /front/fcn_road_seg' in text


@pytest.mark.parametrize(
    'section', ['/**', '/*/fcn_road_seg', '/**/fcn_road_seg', '/front/*', '/front/fcn_road_seg']
)
def test_file_with_a_section_for_the_node_is_no_mistake(warnings_of, params_file, section):
    path = params_file(
        f'{section}:\n  ros__parameters: {{threshold: 0.6}}\n'
        'rear:\n  camera:\n    ros__parameters: {fps: 10}\n'
    )
    assert warnings_of('--params-file', str(path), namespace='front') == []


def test_file_with_nested_names_is_read_as_ros_does(warnings_of, params_file):
    path = params_file('front:\n  fcn_road_seg:\n    ros__parameters: {threshold: 0.6}\n')
    assert warnings_of('--params-file', str(path), namespace='front') == []


@pytest.mark.parametrize('rule', ['imge:=/cam', 'fcn_road_seg:imge:=/cam'])
def test_misspelt_remapping_is_told_with_the_nearest_name(warnings_of, rule):
    text = f'remapping {rule} has no effect; did you mean image?'
    assert warnings_of('-r', rule) == [text]


@pytest.mark.parametrize(
    'rule',
    [
        'image:=/cam',
        'image/compressed:=/cam',
        '~/mask:=/mask',
        '__ns:=/front',
        '/rosout:=/log',
        '/image:=/cam',
        'fcn_road_seg:/image:=/cam',
        'rostopic:///image:=/cam',
        '/fcn_road_seg/overlay/compressed:=/overlay',
    ],
)
def test_remapping_that_may_have_an_effect_is_no_mistake(warnings_of, rule):
    assert warnings_of('--remap', rule) == []


@pytest.mark.parametrize('name', ['cam/image', '/cam/image'])
def test_remapping_of_the_compressed_topic_of_the_remapped_image_is_no_mistake(warnings_of, name):
    rules = ('-r', f'image:={name}', '-r', f'{name}/compressed:=/jpeg')
    assert warnings_of(*rules) == []
    told = 'remapping camera/image/compressed:=/jpeg has no effect; did you mean image/compressed?'
    assert warnings_of('-r', f'image:={name}', '-r', 'camera/image/compressed:=/jpeg') == [told]


def test_full_name_that_is_not_the_nodes_own_is_told(warnings_of):
    text = 'remapping /image:=/cam has no effect; did you mean image?'
    assert warnings_of('-r', '/image:=/cam', namespace='/front') == [text]
    assert warnings_of('-r', '/front/image:=/cam', namespace='/front') == []


def test_qos_override_without_a_topic_is_told(warnings_of):
    name = 'qos_overrides./imge.subscription.depth'
    names = ('-p', f'{name}:=5', '-p', 'treshold:=0.6')
    told = warnings_of(*names, warn_of=warn_of_unused_qos_overrides)
    assert told == [
        f'parameter {name} has no effect: the node has no such topic, or does not let this policy '
        'be overridden'
    ]


def test_text_of_a_file_that_looks_like_no_date_is_left_to_ros(warnings_of, params_file):
    # PyYAML takes it for a date, and raises ValueError; ROS takes it for text.
    path = params_file('/**:\n  ros__parameters:\n    threshold: 0.6\n    serial: 2026-13-01\n')
    text = 'parameter serial is unknown and has no effect'
    assert warnings_of('--params-file', str(path)) == [text]
