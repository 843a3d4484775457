import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.camvid import camvid_label
from fcn_road_seg.datasets.idd_lite import idd_lite_label
from fcn_road_seg.datasets.image_mask import plain_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID


@pytest.mark.parametrize('decode', [camvid_label, idd_lite_label, plain_label])
@given(raw=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=3, max_side=5)))
def test_any_index_image_gives_known_labels_or_an_error(decode, raw):
    try:
        label = decode(raw)
    except ValueError:
        return
    assert set(np.unique(label)) <= {BACKGROUND, ROAD, VOID}
    assert label.shape == raw.shape


@pytest.mark.parametrize('raw', [np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint16)])
def test_label_of_several_channels_or_16_bits_is_refused(raw):
    with pytest.raises(ValueError, match=r'have one 8-bit channel, but is \(4, 6(, 3)?\) uint'):
        camvid_label(raw)


@pytest.mark.parametrize(
    ('decode', 'value'), [(camvid_label, 12), (idd_lite_label, 7), (plain_label, 2)]
)
def test_unknown_label_value_is_named(decode, value):
    with pytest.raises(ValueError, match=f'label value {value} is unknown'):
        decode(np.uint8([[0, value]]))
