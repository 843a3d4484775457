"""Which JPEGs lack data. Other damage is in test_picture and test/messages."""

import time
import tracemalloc

import cv2
import numpy as np
import pytest

from fcn_road_seg.utils.picture import PictureError, decode_picture

END = b'\xff\xd9'
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
RESTARTS = [cv2.IMWRITE_JPEG_RST_INTERVAL, 5]


def photo(h, w, channels=3):
    noise = np.random.default_rng(1).integers(0, 255, (h, w, channels), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def jpeg(pixels, options=()):
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def cut(data, share):
    """Return the first part of a JPEG, cut off within its scans."""
    start = data.index(b'\xff\xda') + 14
    return data[: start + int((len(data) - 2 - start) * share)]


def is_read(data):
    """Return whether a JPEG is read, and then as OpenCV reads it with its end marker."""
    try:
        pixels = decode_picture(data)
    except PictureError:
        return False
    ended = data if data.endswith(END) else data + END
    assert np.array_equal(pixels, cv2.imdecode(np.frombuffer(ended, np.uint8), cv2.IMREAD_COLOR))
    return True


KINDS = {
    'colour': (photo(200, 300), []),
    'grey': (photo(200, 300, 1), []),
    'restarts': (photo(200, 300), RESTARTS),
    'progressive': (photo(200, 300), PROGRESSIVE),
    'small': (photo(64, 96), []),
}


@pytest.fixture(params=KINDS)
def whole(request):
    return jpeg(*KINDS[request.param])


SHARES = np.linspace(0.0, 0.98, 15)


def test_whole_jpeg_is_read(whole):
    assert is_read(whole)


def test_cut_off_jpeg_is_refused(whole):
    assert not any(is_read(cut(whole, share)) for share in SHARES)


def test_cut_off_jpeg_is_refused_though_it_ends_properly(whole):
    assert not any(is_read(cut(whole, share) + END) for share in SHARES)


def test_cut_off_jpeg_is_called_so():
    data = cut(jpeg(photo(64, 96)), 0.6)
    with pytest.raises(
        PictureError, match=f'^JPEG data of {len(data)} bytes is cut off or damaged$'
    ):
        decode_picture(data)


def test_cut_off_jpeg_with_rubbish_behind_its_end_is_refused(whole):
    assert not any(is_read(cut(whole, share) + END + bytes(range(100))) for share in SHARES)


def test_whole_jpeg_with_rubbish_behind_its_end_is_read(whole):
    pixels = decode_picture(whole)
    assert np.array_equal(decode_picture(whole + bytes(range(100))), pixels)


@pytest.mark.parametrize('name', ['colour', 'grey', 'restarts', 'small'])
@pytest.mark.parametrize('lost', [1, 2])
def test_jpeg_without_its_end_marker_is_read(name, lost):
    whole = jpeg(*KINDS[name])
    assert np.array_equal(decode_picture(whole[:-lost]), decode_picture(whole))


def test_every_byte_that_is_lost_before_a_missing_end_marker_is_noticed():
    whole = jpeg(photo(64, 96))
    ends = range(whole.index(b'\xff\xda') + 14, len(whole) - 2)
    assert [end for end in ends if is_read(whole[:end])] == []


@pytest.mark.parametrize('name', ['colour', 'grey', 'restarts'])
def test_jpeg_with_a_part_missing_in_its_middle_is_refused(name):
    whole = jpeg(*KINDS[name])
    for share in SHARES[:-2]:
        behind = whole[len(cut(whole, share + 0.1)) :]
        assert not is_read(cut(whole, share) + behind)


@pytest.mark.parametrize('options', [[], RESTARTS, PROGRESSIVE])
@pytest.mark.parametrize('value', [0, 128, 255])
def test_picture_of_one_colour_is_not_taken_for_missing_data(value, options):
    assert is_read(jpeg(np.full((300, 400, 3), value, np.uint8), options))


@pytest.mark.parametrize('h', [1, 2, 7, 8, 9])
@pytest.mark.parametrize('w', [1, 8, 17])
@pytest.mark.parametrize('options', [[], RESTARTS, PROGRESSIVE])
def test_picture_of_any_size_is_read(h, w, options):
    assert is_read(jpeg(photo(h, w), options))


def test_reading_a_whole_picture_prints_no_warning(capfd):
    for pixels, options in KINDS.values():
        data = jpeg(pixels, options)
        assert is_read(data)
        assert options == PROGRESSIVE or is_read(data[:-2])
    assert is_read(jpeg(np.full((300, 400, 3), 128, np.uint8), RESTARTS))
    assert capfd.readouterr() == ('', '')


def seconds_to_refuse(data):
    began_s = time.process_time()
    assert not is_read(data)
    return time.process_time() - began_s


def test_long_run_of_fill_bytes_is_refused_at_once():
    # With the square of its length, which it once took, this would be 100 s.
    assert seconds_to_refuse(b'\xff\xd8\xff' + b'\xff' * 60_000) < 1


def test_fill_bytes_before_markers_are_part_of_no_scan():
    data = jpeg(photo(200, 300), PROGRESSIVE)
    header, *scans = data.split(b'\xff\xda')
    filled = b'\xff\xff\xff\xda'.join([header, *scans])
    assert is_read(filled)
    assert not is_read(cut(filled, 0.6) + b'\xff\xff' + END)


def test_picture_of_endlessly_many_scans_is_refused_at_once():
    data = jpeg(np.zeros((2048, 2048), np.uint8), PROGRESSIVE)
    last_scan = data[data.rindex(b'\xff\xda') : -2]
    assert is_read(data)
    assert seconds_to_refuse(data[:-2] + 10_000 * last_scan + END) < 1


@pytest.mark.parametrize('options', [RESTARTS, PROGRESSIVE])
def test_flood_of_restart_markers_costs_no_memory(options):
    # Grey, as the blocks of a picture that lacks data.
    data = jpeg(np.full((16, 24), 128, np.uint8), options)
    flood = data[:-2] + b'\xff\xd0' * 100_000 + END
    assert is_read(data)
    tracemalloc.start()
    assert not is_read(flood)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10 * len(flood)
