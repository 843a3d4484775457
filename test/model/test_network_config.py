import pytest

from fcn_road_seg.model.network_config import RoadFCNConfig


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'encoder': 'resnet'}, "'resnet' is unknown; use one of"),
        ({'skips': ('pool3',), 'skip_scales': (1.0,)}, 'not a prefix'),
        ({'skip_scales': (1.0,)}, 'give one per skip'),
        ({'std': (0.0, 1.0, 1.0)}, 'std > 0'),
        ({'width': 0.75}, r'width 0.75 is unknown; use one of \(1.0, 0.5, 0.25\)'),
        ({'width': float('nan')}, 'width nan is unknown'),
    ],
)
def test_config_refuses_what_the_network_does_not_offer(fields, message):
    with pytest.raises(ValueError, match=message):
        RoadFCNConfig(**fields)
