"""Which image this is; the image's builder writes this file anew (docs/adr/0044).

Rules: a program that runs from a checkout is no image and says zeros.

Example:
    >>> len(MEASUREMENT)
    32
"""

MEASUREMENT = b"\x00" * 32
