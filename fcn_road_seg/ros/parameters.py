"""The parameters of the node: name, default, text, unit, range; each is defined here only."""

from __future__ import annotations

from collections.abc import Mapping

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import GROUND_FRAME, GroundGrid
from fcn_road_seg.inference.cpu_threads import MAX_THREADS
from fcn_road_seg.inference.interfaces import MAX_ROI_TOP, OverlayStyle
from fcn_road_seg.inference.options import BACKENDS, PRECISIONS
from fcn_road_seg.inference.small_regions import MAX_MIN_REGION
from fcn_road_seg.ros.parameter import Parameter, ParameterError, Value

PARAMETERS = (
    Parameter(
        'checkpoint',
        '',
        'Checkpoint file (.safetensors), or lite for the light network shipped with the package; '
        'empty uses the full-size network shipped with it.',
    ),
    Parameter(
        'device',
        'auto',
        'Device: auto, cpu, cuda or cuda:N. auto uses the CPU if no GPU is usable; cuda then '
        'fails.',
    ),
    Parameter(
        'precision',
        'auto',
        'Number format in which the network is computed. auto uses the fastest one that the '
        'machine supports and whose masks agree with those of float32, according to the '
        'checkpoint; otherwise float32.',
        choices=('auto', *PRECISIONS),
    ),
    Parameter(
        'backend',
        'auto',
        'Library that computes the network. On a CPU, auto uses ncnn for float32 and OpenVINO for '
        'the lower precisions if they are installed, and PyTorch otherwise; in float32 all give '
        'the same mask.',
        choices=BACKENDS,
    ),
    Parameter(
        'input_height',
        0,
        "Height of the network's input; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'input_width',
        0,
        "Width of the network's input; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'roi_top',
        0.0,
        "Fraction of a frame's height to skip at the top (the sky). The skipped part is never "
        'road; skipping it saves about the same fraction of the time.',
        minimum=0.0,
        maximum=MAX_ROI_TOP,
    ),
    Parameter(
        'image_transport',
        'raw',
        'raw subscribes to `image`, compressed to `image/compressed` (JPEG or PNG).',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'input_reliability',
        'auto',
        'Reliability of the image subscription. auto follows what the publishers offer; '
        'best_effort is compatible with every publisher; reliable loses no frame in transport, '
        'but is compatible with reliable publishers only.',
        choices=('auto', 'best_effort', 'reliable'),
    ),
    Parameter(
        'process_every_frame',
        False,
        'Whether to queue the frames and segment each one in order, instead of only the newest. '
        'For bags: if the node is slower than the camera, it falls behind and its queue grows.',
    ),
    Parameter(
        'max_image_age',
        0.0,
        'Skip and count frames whose stamp is older than this; 0 is no limit.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    ),
    Parameter(
        'threshold',
        0.0,
        "Lowest p(road) that counts as road; 0 uses the checkpoint's threshold.",
        minimum=0.0,
        maximum=0.999,
        dynamic=True,
    ),
    Parameter(
        'min_region',
        0.0,
        'Smallest region of the mask to keep, as a fraction of the frame: smaller specks of road '
        'become background, and smaller holes road. 0 keeps all.',
        minimum=0.0,
        maximum=MAX_MIN_REGION,
        dynamic=True,
    ),
    Parameter(
        'overlay_alpha',
        OverlayStyle.alpha,
        'Opacity of the road in the overlay: 0 is invisible, 1 is opaque.',
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    ),
    Parameter(
        'overlay_color',
        list(OverlayStyle.color_rgb),
        'Colour of the road in the overlay: red, green, blue.',
        minimum=0,
        maximum=255,
        length=3,
        dynamic=True,
    ),
    Parameter(
        'camera_height',
        0.0,
        'Height of the camera above the road, for grid, points and corridor; 0 takes the '
        'mounting from tf.',
        unit='m',
        minimum=0.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        'camera_pitch',
        0.0,
        'Angle by which the camera looks down, if camera_height is set.',
        unit='rad',
        minimum=-0.785,
        maximum=1.571,
        dynamic=True,
    ),
    Parameter(
        'camera_roll',
        0.0,
        "Angle by which the camera's right side is lowered, if camera_height is set.",
        unit='rad',
        minimum=-0.785,
        maximum=0.785,
        dynamic=True,
    ),
    Parameter(
        'rectified',
        False,
        'Whether the images are rectified; the P of camera_info is then used, without distortion.',
    ),
    Parameter(
        'ground_frame',
        GROUND_FRAME,
        'Frame of grid and corridor: x ahead, y left, z up, the road at z = 0. With '
        'camera_height, its origin is right below the camera; otherwise tf must know it.',
    ),
    Parameter(
        'grid_x_min',
        GroundGrid.x_min_m,
        'Distance at which the grid begins.',
        unit='m',
        minimum=-1000.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_x_max',
        GroundGrid.x_max_m,
        'Distance at which the grid ends.',
        unit='m',
        minimum=-1000.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_width',
        GroundGrid.width_m,
        'Width of the grid, half of it on each side.',
        unit='m',
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_resolution',
        GroundGrid.resolution_m,
        'Side of a cell of the grid.',
        unit='m',
        minimum=0.0,
        maximum=100.0,
    ),
    Parameter(
        'points_stride',
        1,
        'Publish every Nth row and column of the points; consumers that pair them with the '
        'class mask need 1.',
        minimum=1,
        maximum=64,
    ),
    Parameter(
        'num_threads',
        0,
        'Number of CPU threads; 0 is one per core.',
        minimum=0,
        maximum=MAX_THREADS,
    ),
    Parameter(
        'autostart',
        True,
        'Whether to configure and activate at the start; false waits for a lifecycle manager.',
    ),
)

QOS_PREFIX = 'qos_overrides.'
# Parameters of ROS itself; not every distribution's rclpy declares them.
_OF_ROS = ('use_sim_time', 'start_type_description_service')


def is_known(name: str) -> bool:
    """Return whether `name` is a parameter of this node or of ROS itself, or a QoS override."""
    own = (parameter.name for parameter in PARAMETERS)
    return name in own or name in _OF_ROS or name.startswith(QOS_PREFIX)


def check_together(values: Mapping[str, Value]) -> None:
    """Check the values of all parameters, by name, against each other.

    Raises:
        ParameterError: values that are each allowed do not fit together.
    """
    height, width = values['input_height'], values['input_width']
    if bool(height) != bool(width):
        raise ParameterError(
            f'input_height {height} and input_width {width} do not fit together; '
            'set both or neither (0)'
        )
    ranges = ('grid_x_min', 'grid_x_max', 'grid_width', 'grid_resolution')
    try:
        GroundGrid(*(float(values[name]) for name in ranges))  # type: ignore[arg-type]
    except GroundError as error:
        raise ParameterError(f'{", ".join(ranges)}: {error}') from error
