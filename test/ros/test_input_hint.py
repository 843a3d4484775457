import pytest

from fcn_road_seg.ros.input_hint import IMAGE_TYPES, input_hint

RAW, COMPRESSED = IMAGE_TYPES['raw'], IMAGE_TYPES['compressed']


@pytest.mark.parametrize(
    ('topic', 'transport'), [('/cam/image', 'raw'), ('/cam/image/compressed', 'compressed')]
)
def test_published_topic_needs_no_hint(topic, transport):
    published = {'/cam/image': {RAW}, '/cam/image/compressed': {COMPRESSED}}
    assert input_hint(topic, transport, published) == ''


@pytest.mark.parametrize('transport', IMAGE_TYPES)
def test_silence_everywhere_gives_no_hint(transport):
    assert input_hint('/image', transport, {}) == ''


def test_transport_is_the_change_when_only_compressed_images_are_published():
    hint = input_hint('/cam/image', 'raw', {'/cam/image/compressed': {COMPRESSED}})
    expected = f'/cam/image/compressed is published as {COMPRESSED}; '
    assert hint == expected + 'set image_transport to compressed'


def test_transport_is_the_change_when_only_raw_images_are_published():
    hint = input_hint('/cam/image/compressed', 'compressed', {'/cam/image': {RAW}})
    assert hint == f'/cam/image is published as {RAW}; set image_transport to raw'


def test_suffix_given_twice_is_taken_off_the_argument():
    hint = input_hint(
        '/cam/image/compressed/compressed', 'compressed', {'/cam/image/compressed': {COMPRESSED}}
    )
    assert hint == f'/cam/image/compressed is published as {COMPRESSED}; set image to /cam/image'


def test_compressed_topic_given_to_the_raw_transport_changes_both_arguments():
    published = {'/cam/image/compressed': {COMPRESSED}, '/cam/image': {RAW}}
    hint = input_hint('/cam/image/compressed', 'raw', published)
    assert hint.endswith('; set image to /cam/image and image_transport to compressed')


def test_compressed_images_under_another_name_are_remapped_directly():
    hint = input_hint('/cam/jpeg', 'raw', {'/cam/jpeg': {COMPRESSED}})
    remedy = 'remap image/compressed to /cam/jpeg and set image_transport to compressed'
    assert hint == f'/cam/jpeg is published as {COMPRESSED}; {remedy}'


def test_raw_images_under_a_remapped_compressed_name_are_told_with_their_type():
    hint = input_hint('/cam/jpeg', 'compressed', {'/cam/jpeg': {RAW}})
    # The name has no /compressed, so it is that of the image itself.
    assert hint == f'/cam/jpeg is published as {RAW}; set image_transport to raw'


def test_raw_images_whose_name_ends_like_compressed_ones_keep_it():
    hint = input_hint('/cam/compressed', 'compressed', {'/cam/compressed': {RAW}})
    remedy = 'set image to /cam/compressed and image_transport to raw'
    assert hint == f'/cam/compressed is published as {RAW}; {remedy}'


def test_nearest_image_topics_are_named_first_and_three_at_most():
    names = ['/rear/points/image', '/front/image_raw', '/a', '/front/image_rect']
    hint = input_hint('/front/imag_raw', 'raw', {name: {RAW} for name in names})
    assert hint.startswith('nothing is published on /front/imag_raw; images are published on ')
    assert hint.endswith('/front/image_raw, /front/image_rect, /rear/points/image')
