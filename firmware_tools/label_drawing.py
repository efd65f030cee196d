"""Drawing labels: the QR code and the serial under it, one label or a sheet of them, as SVG or PNG.

Rules: a label is 38 × 21 mm with a code of 16.5 mm, whose modules of half a millimetre a phone's camera reads
from a hand's width in bad light; a quarter of the code may be scratched off (level Q). Beside it stand the
serial, large enough to read aloud, and the first digits of both keys. A sheet is A4, four columns of twelve;
it is printed at 100 %.

It knows nothing of boxes; what stands in the code is `protocol.label`.

Example:
    >>> from protocol.label import BoxLabel
    >>> svg = label_svg(BoxLabel(serial="TB-000123-Y", device="ab" * 10, mcu=None))
    >>> svg.startswith("<svg"), "TB-000123-Y" in svg
    (True, True)

Source: ISO/IEC 18004 (level Q: 25 % of the code words; quiet zone of four modules).
"""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, Final

import segno

from protocol.limits import LABELS_A_SHEET_MAX

if TYPE_CHECKING:
    from protocol.label import BoxLabel

WIDTH_MM: Final = 38.0
HEIGHT_MM: Final = 21.0
_MODULE_MM: Final = 0.5
_QUIET: Final = 4
_COLUMNS: Final = 4
_ROWS: Final = 12
_MARGIN_MM: Final = 22.0
_PAGE_MM: Final = (210.0, 297.0)
_PNG_SCALE: Final = 8

assert _COLUMNS * _ROWS == LABELS_A_SHEET_MAX, "as the limit says"


def label_svg(label: BoxLabel) -> str:
    """Return one label as an SVG of its size in mm."""
    return _page(WIDTH_MM, HEIGHT_MM, [_drawn(label, 0.0, 0.0)])


def sheet_svg(labels: list[BoxLabel]) -> str:
    """Return a page of labels, row by row.

    Args:
        labels: at most `LABELS_A_SHEET_MAX`.
    """
    assert len(labels) <= LABELS_A_SHEET_MAX, "one page"
    drawn = [
        _drawn(
            label, _MARGIN_MM + index % _COLUMNS * (WIDTH_MM + 4), _MARGIN_MM + index // _COLUMNS * HEIGHT_MM
        )
        for index, label in enumerate(labels)
    ]
    return _page(*_PAGE_MM, drawn)


def code_png(label: BoxLabel) -> bytes:
    """Return the code alone as a PNG, eight pixels a module, for a label printer's own layout."""
    out = io.BytesIO()
    _code(label).save(out, kind="png", scale=_PNG_SCALE, border=_QUIET)
    return out.getvalue()


def _code(label: BoxLabel) -> segno.QRCode:
    return segno.make_qr(label.text(), error="q", boost_error=False)


def _drawn(label: BoxLabel, left: float, top: float) -> str:
    """Return one label's group: modules as runs of a path, and the lines of text to their right."""
    runs = []
    for row, line in enumerate(_code(label).matrix):
        column = 0
        while column < len(line):
            end = column
            while end < len(line) and line[end] == line[column]:
                end += 1
            if line[column]:
                runs.append(f"M{column} {row}h{end - column}v1h-{end - column}z")
            column = end
    keys = [("box", label.device), ("mcu", label.mcu or "none")]
    small = "".join(
        f'<text x="22.5" y="{13 + 3 * index}" font-size="2">{name} {escape(digits[:8])}</text>'
        for index, (name, digits) in enumerate(keys)
    )
    return (
        f'<g transform="translate({left:g} {top:g})" font-family="monospace">'
        f'<path transform="translate({_QUIET * _MODULE_MM:g} {_QUIET * _MODULE_MM:g}) scale({_MODULE_MM:g})" '
        f'shape-rendering="crispEdges" d="{"".join(runs)}"/>'
        f'<text x="21.5" y="8" font-size="2.4" font-weight="bold">{escape(label.serial)}</text>{small}</g>'
    )


def _page(width: float, height: float, groups: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm"'
    return (
        f'{head} viewBox="0 0 {width:g} {height:g}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(groups)}</svg>\n'
    )
