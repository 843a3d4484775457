"""Why no image arrives: what is published near the subscribed topic, and what to change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

IMAGE_TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}

_SUFFIX = '/compressed'
_MAX_TOPICS = 3


def input_hint(topic: str, transport: str, published: Mapping[str, Collection[str]]) -> str:
    """Return in one line what to change so that images arrive.

    Args:
        topic: The resolved name of the subscribed topic.
        transport: A key of IMAGE_TYPES.
        published: The types published on each topic with images, by the topic's name.

    Returns:
        The hint; empty if `topic` is published with the right type, or if no images are published.
    """
    if IMAGE_TYPES[transport] in published.get(topic, ()):
        return ''
    image = topic.removesuffix(_SUFFIX) if transport == 'compressed' else topic
    base = topic
    while base.endswith(_SUFFIX):
        base = base.removesuffix(_SUFFIX)
    for other, name in (('compressed', base + _SUFFIX), ('raw', base)):
        if IMAGE_TYPES[other] in published.get(name, ()):
            changes = [f'image to {base}'] if image != base else []
            changes += [f'image_transport to {other}'] if transport != other else []
            return f'{name} is published as {IMAGE_TYPES[other]}; set {" and ".join(changes)}'
    if topic in published:
        kinds = ', '.join(sorted(published[topic]))
        remedy = (
            f'remap image/compressed to {topic} and set image_transport to compressed'
            if transport == 'raw'
            else f'set image to {topic} and image_transport to raw'
        )
        return f'{topic} is published as {kinds}; {remedy}'
    nearest = get_close_matches(topic, sorted(published), n=_MAX_TOPICS, cutoff=0.0)
    if not nearest:
        return ''
    return f'nothing is published on {topic}; images are published on {", ".join(nearest)}'
