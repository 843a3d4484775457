"""OpenVINO, imported without its usage report (to Google Analytics) and its model converter.

Import OpenVINO from here only.
"""

from __future__ import annotations

import sys

# OpenVINO does without either: it falls back to a stub for the report, which its import sends, and
# the converter, `openvino.convert_model`, takes more than half of the time of the import. They are
# blocked only during the import: other code in this process may import both.
_LEFT_OUT = ('openvino_telemetry', 'openvino.tools.ovc')

_blocked = [name for name in _LEFT_OUT if name not in sys.modules]
for _name in _blocked:
    sys.modules[_name] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
finally:
    for _name in _blocked:
        del sys.modules[_name]

__all__ = ['openvino', 'ops']
