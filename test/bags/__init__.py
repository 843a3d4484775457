import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed')
