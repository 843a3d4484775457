import pytest

from fcn_road_seg.utils.nearest_name import did_you_mean


@pytest.mark.parametrize(
    ('name', 'advice'), [('treshold', '; did you mean threshold?'), ('image', ''), ('', '')]
)
def test_only_a_similar_name_is_offered(name, advice):
    assert did_you_mean(name, ('threshold', 'magic')) == advice
