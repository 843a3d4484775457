"""The architecture of a network, as every checkpoint describes it."""

from __future__ import annotations

from dataclasses import dataclass

ENCODERS = ('vgg16', 'vgg16_bn')
SKIPS = ('pool4', 'pool3')
WIDTHS = (1.0, 0.5, 0.25)

# No weight of a trained network comes near this, and a few layers of larger ones overflow float32.
LARGEST_NUMBER = 1e12

# Both sides of the network's input are multiples of this.
OUTPUT_STRIDE = 32
# Channels of the convolutions in the encoder's stages at width 1.
STAGE_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
STAGES = len(STAGE_CHANNELS)
CONVOLUTIONS = sum(len(stage) for stage in STAGE_CHANNELS)
# Channels from each transposed convolution to the next, and (input, output) channels of each skip.
DECODER_CHANNELS = (512, 256, 128, 64, 32, 16)
SKIP_CHANNELS = {'pool4': (512, 256), 'pool3': (256, 128)}
CONTEXT_CELLS = 11
# How many transposed convolutions have kernel 4 with `overlap`: those that refine cells of 32
# pixels down to 4. The blocks of the last two are too small to be seen, and the wider kernel would
# cost most there.
OVERLAPPING = 3
# The minimum for every layer at any width. 8 in the last layer would save 3 to 7 % of the time at
# width 0.25, but leave the maximum over 4 channels for each class instead of 8.
_LEAST_CHANNELS = 16


@dataclass(frozen=True)
class RoadFCNConfig:
    """The architecture of a network, stored in every checkpoint.

    `encoder` is one of ENCODERS. `skips` is a prefix of SKIPS: both are FCN-8, pool4 alone is
    FCN-16, none is FCN-32. `skip_scales` has one factor per skip, applied to the pooled features
    before their 1x1 convolution. `mean` and `std` normalise RGB in [0, 1]. With `context`, pool5
    passes through a `ContextBlock` before the decoder. `width`, one of WIDTHS, scales the channels
    of all layers (`channels_at`). With `overlap`, the first three transposed convolutions have
    kernel 4, not 2, so that neighbouring cells mix. `activation_caps` is empty, or has one upper
    bound for the activations after each of the encoder's CONVOLUTIONS (`model/int8_form.py`).

    Raises:
        ValueError: the network does not support the value of a field.
    """

    encoder: str = 'vgg16'
    skips: tuple[str, ...] = SKIPS
    skip_scales: tuple[float, ...] = (1.0, 1.0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    context: bool = False
    width: float = 1.0
    overlap: bool = False
    activation_caps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f'encoder {self.encoder!r} is unknown; use one of {ENCODERS}')
        if self.skips != SKIPS[: len(self.skips)]:
            raise ValueError(
                f'skips {self.skips} are not a prefix of {SKIPS}; leave out the last ones only'
            )
        if len(self.skip_scales) != len(self.skips):
            raise ValueError(
                f'skip_scales {self.skip_scales} do not match skips {self.skips}; '
                'give one per skip'
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f'mean {self.mean} and std {self.std} must be RGB, with std > 0')
        for number in (*self.mean, *self.std, *self.skip_scales):
            # NaN must fail, too.
            if not abs(number) <= LARGEST_NUMBER:
                raise ValueError(
                    f'{number} in mean, std or skip_scales is not finite or too large; '
                    f'use at most {LARGEST_NUMBER:g}'
                )
        if self.width not in WIDTHS:
            raise ValueError(f'width {self.width} is unknown; use one of {WIDTHS}')
        if len(self.activation_caps) not in (0, CONVOLUTIONS):
            raise ValueError(
                f'there are {len(self.activation_caps)} activation caps, not {CONVOLUTIONS} or 0'
            )
        for cap in self.activation_caps:
            # NaN must fail, too.
            if not 0 < cap <= LARGEST_NUMBER:
                raise ValueError(
                    f'activation cap {cap} is not positive and at most {LARGEST_NUMBER:g}'
                )


def channels_at(width: float, channels: int) -> int:
    """Return the channels, at `width`, of a layer that has `channels` (at least 16) at width 1.

    No layer has fewer than 16, not even the decoder's last one.
    """
    return max(_LEAST_CHANNELS, round(width * channels))
