"""Fuzzes, with atheris, how an image message is checked and decoded before the node uses it.

`python -m test.helpers.fuzz_messages CORPUS -runs=1000`: the arguments are libFuzzer's. It ends
with an error at the first message that is neither decoded nor refused as it should be.
"""

from __future__ import annotations

import sys
from array import array
from inspect import isfunction

import atheris
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.utils import jpeg

# A comparison of arrays in instrumented code leaks its result (atheris 3.0), so the functions
# that compare pixels are left out.
for name, function in vars(jpeg).items():
    if isfunction(function) and function.__module__ == jpeg.__name__ and 'grey' not in name:
        atheris.instrument_func(function)

with atheris.instrument_imports(include=['fcn_road_seg']):
    from fcn_road_seg.messages.image import ENCODINGS
    from test.helpers.message_checks import is_readable

PICTURE_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n')
MAX_TEXT = 20


def check_one(data: bytes) -> None:
    if data.startswith(PICTURE_STARTS):
        is_readable(CompressedImage(format='jpeg', data=array('B', data)))
    else:
        is_readable(_image(atheris.FuzzedDataProvider(data)))


def _image(provider: atheris.FuzzedDataProvider) -> Image:
    names = (*ENCODINGS, provider.ConsumeUnicodeNoSurrogates(MAX_TEXT))
    msg = Image(encoding=names[provider.ConsumeIntInRange(0, len(ENCODINGS))])
    is_small = provider.ConsumeBool()
    high = 12 if is_small else 2**32 - 1
    msg.height, msg.width, msg.step = (provider.ConsumeIntInRange(0, high) for _ in range(3))
    msg.is_bigendian = provider.ConsumeIntInRange(0, 255)
    size = provider.remaining_bytes()
    if is_small:
        # Mostly as many bytes as needed, for packed pixels or for luma and chroma.
        msg.step += msg.width * provider.ConsumeIntInRange(0, 4)
        rows = msg.height + provider.ConsumeBool() * (msg.height + 1) // 2
        size = rows * msg.step + provider.ConsumeIntInRange(0, 1)
    data = provider.ConsumeBytes(size)
    msg.data = array('B', data.ljust(size) if is_small else data)
    return msg


if __name__ == '__main__':
    atheris.Setup(sys.argv, check_one)
    atheris.Fuzz()
