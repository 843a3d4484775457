"""OpenVINO, imported without its usage report (to Google Analytics) and its model converter.

Import OpenVINO from here only.
"""

from __future__ import annotations

import sys

# OpenVINO works without either. Its import sends the report, or uses a stub if the module is
# missing. The converter, `openvino.convert_model`, takes more than half of the import's time. They
# are blocked only during the import: other code in this process may import both.
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
