import io
import os
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fcn_road_seg.utils.picture import PictureError, decode_picture, read_picture


def photo(h=64, w=96):
    """Return a BGR picture with details, whose lower half is brighter."""
    noise = np.random.default_rng(3).integers(0, 120, (h, w, 3), np.uint8)
    noise[h // 2 :] += 120
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def chunk(name, body):
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def turned(pixels, kind):
    """Return a file of RGB or grey `pixels` whose EXIF orientation says: upside down."""
    exif = Image.Exif()
    exif[0x112] = 3
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize('kind', ['png', 'jpeg'])
@pytest.mark.parametrize('unchanged', [False, True])
def test_pixels_are_those_stored_whatever_exif_says(kind, unchanged):
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[32:] = 200
    data = turned(pixels, kind)
    assert np.abs(decode_picture(data, unchanged).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_unchanged_keeps_channels_and_dtype(shape, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    read = decode_picture(cv2.imencode('.png', pixels)[1].tobytes(), unchanged=True)
    assert read.dtype == dtype
    assert np.array_equal(read, pixels)


def test_palette_is_not_kept_by_unchanged_as_opencv_looks_it_up():
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), 'P')
    picture.putpalette([10, 20, 30, 40, 50, 60])
    file = io.BytesIO()
    picture.save(file, 'png')
    read = decode_picture(file.getvalue(), unchanged=True)
    assert read.tolist() == [[[30, 20, 10], [60, 50, 40]]]


@pytest.mark.parametrize('place', [0.3, 0.6, 0.97])
def test_png_with_valid_checksums_but_too_few_lines_is_refused(place):
    data = cv2.imencode('.png', photo())[1].tobytes()
    start = data.index(b'IDAT')
    body = data[start + 4 : start + 4 + int.from_bytes(data[start - 4 : start], 'big')]
    cut = data[: start - 4] + chunk(b'IDAT', body[: int(len(body) * place)]) + chunk(b'IEND', b'')
    with pytest.raises(PictureError, match=r'PNG data .* cut off or damaged'):
        decode_picture(cut)


@pytest.mark.parametrize('name', [b'IDAT', b'tEXt', b'IEND'])
@pytest.mark.parametrize('claim', [2**20, 2**31 - 1, 2**32 - 1])
def test_png_chunk_longer_than_the_data_is_refused_and_costs_no_memory(name, claim):
    data = cv2.imencode('.png', photo())[1].tobytes()
    at = data.index(b'IDAT' if name == b'tEXt' else name) - 4
    lying = data[:at] + struct.pack('>I', claim) + name + data[at + 8 :]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match=r'PNG data .* cut off or damaged'):
        decode_picture(lying)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + 100 * 1024


NAMES = [
    b'a b.png',
    b'50%.png',
    b'%41.png',
    b'#1.png',
    b'a?b=c.png',
    b'caf\xe9.png',
    b'\xff\xfe.png',
]


@pytest.mark.parametrize('name', NAMES)
def test_file_of_any_name_is_read(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(cv2.imencode('.png', photo())[1].tobytes())
    assert np.array_equal(read_picture(path), photo())


def test_missing_file_is_refused_with_the_reason(tmp_path):
    with pytest.raises(PictureError, match=r'^No such file or directory$'):
        read_picture(tmp_path / 'none.png')


def test_folder_is_refused_with_the_reason(tmp_path):
    with pytest.raises(PictureError, match=r'^Is a directory$'):
        read_picture(tmp_path)
