import numpy as np
import pytest

from fcn_road_seg.datasets.label_rle import decode_mask, encode_mask

# By label_studio_converter 0.0.59: mask2rle of a mask of 3 x 5, encode_rle of 2 x 3 x 4 bytes.
MASK = np.array([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], np.uint8) * 255
MASK_RLE = bytes.fromhex('0000003c391bfe1b00c27ff6c000')
OPACITY = [[167, 242, 17], [66, 197, 50]]
OPACITY_RLE = bytes.fromhex(
    '00000018391bf81880730028053803607581b407900b604e0122008810004281400210026003018a05b003e0'
    '74015c0190'
)


def random_mask(hw, seed=0):
    return np.random.default_rng(seed).integers(0, 2, hw, np.uint8) * 255


def test_mask_becomes_the_bytes_that_label_studios_own_encoder_gives():
    assert encode_mask(MASK) == MASK_RLE


def test_bytes_of_label_studios_own_encoder_are_read():
    assert np.array_equal(decode_mask(MASK_RLE, (3, 5)), MASK)
    assert np.array_equal(decode_mask(OPACITY_RLE, (2, 3)) == 255, np.array(OPACITY) >= 128)


def test_label_studios_own_decoder_reads_our_bytes():
    brush = pytest.importorskip('label_studio_converter.brush', reason='it is not installed')
    mask = random_mask((30, 40))
    decoded = brush.decode_rle(list(encode_mask(mask))).reshape(30, 40, 4)
    assert np.array_equal(decoded[..., 3], mask)


@pytest.mark.parametrize('hw', [(1, 1), (7, 13), (200, 300)])
def test_mask_comes_back_as_it_was(hw):
    for mask in (random_mask(hw), np.zeros(hw, np.uint8), np.full(hw, 255, np.uint8)):
        assert np.array_equal(decode_mask(encode_mask(mask), hw), mask)


@pytest.mark.parametrize(('opacity', 'value'), [(127, 0), (128, 255), (200, 255)])
def test_bytes_that_are_not_runs_are_read(opacity, value):
    # Sizes 1, 1, 1, 3 bits; four bytes as they are.
    bits = f'{4:032b}{7:05b}' + '0000' * 3 + f'{2:04b}' + '0' + '11' + f'{3:03b}'
    bits += ''.join(f'{byte:08b}' for byte in (1, 2, 3, opacity))
    data = int(bits.ljust(104, '0'), 2).to_bytes(13, 'big')
    assert decode_mask(data, (1, 1)).tolist() == [[value]]


@pytest.mark.parametrize('length', [0, 3, 10, len(MASK_RLE) - 2])
def test_bytes_that_are_cut_off_are_refused(length):
    with pytest.raises(ValueError, match=r'cut off|have 0 bytes'):
        decode_mask(MASK_RLE[:length], (3, 5))


def test_bytes_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r'have 60 bytes, not \(5, 5\) \(H, W\) times 4'):
        decode_mask(MASK_RLE, (5, 5))


def test_run_beyond_the_last_byte_is_refused():
    # The first run, 65536 bytes long, would fill any small mask with road.
    bits = f'{60:032b}{7:05b}' + ''.join(f'{size - 1:04b}' for size in (3, 4, 8, 16))
    bits += '1' + '11' + '1' * 16 + '1' * 8
    data = int(bits.ljust(88, '0'), 2).to_bytes(11, 'big')
    with pytest.raises(ValueError, match='a run beyond their 60 bytes'):
        decode_mask(data, (3, 5))
