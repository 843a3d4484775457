"""OpenVINO, imported without the telemetry that its import sends (to Google Analytics).

Import OpenVINO from here only.
"""

from __future__ import annotations

import sys

_TELEMETRY = 'openvino_telemetry'

# OpenVINO falls back to a stub if this module cannot be imported. It is blocked only during the
# import: other code in this process may use it.
_blocks = _TELEMETRY not in sys.modules
if _blocks:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
finally:
    if _blocks:
        del sys.modules[_TELEMETRY]

__all__ = ['openvino', 'ops']
