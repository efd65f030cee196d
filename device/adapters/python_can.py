"""python-can, without what it loads for log files when that happens to be installed.

Rules: its package reads MF4 by asammdf, which brings pandas and pyarrow: a hundred megabytes and a second of
start-up for a form of log that this product reads itself. The import is made to look as if asammdf were not
there; asammdf itself can be imported before and after.

Example:
    >>> from device.adapters.python_can import can
    >>> can.Bus.__name__
    'Bus'
"""

from __future__ import annotations

import sys

_UNWANTED = "asammdf"

_is_hidden = _UNWANTED not in sys.modules
if _is_hidden:
    sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # Python's own way to say "not there"
try:
    import can
finally:
    if _is_hidden:
        del sys.modules[_UNWANTED]

__all__ = ["can"]
