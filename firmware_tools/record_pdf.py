"""A commissioning record as a PDF of one or two pages, made from the same bytes that were signed.

Rules: everything printed comes from the signed payload, never from the readable part of a file; the page
carries the payload's SHA-256 as text and as a QR code, so that paper and file can be told to belong together.
The same bytes give the same PDF. Letters that the built-in fonts lack are shown as their code points: nothing
is left out silently. A PDF proves nothing: `tbox install record verify` does, on the file.

Example:
    >>> from protocol.vectors.installs import RECORD
    >>> record_pdf(RECORD, sha256=bytes(32), signers=("box", "installer"))[:5]
    b'%PDF-'
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import segno
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from protocol.install_vocabulary import Step, Verdict

if TYPE_CHECKING:
    from protocol.install_record import Record

QR_PREFIX: Final = "TBOX-CR1:"  # then the payload's SHA-256 in hex
MARGIN_MM, LINE_MM, QR_MM = 15.0, 5.0, 32.0
NAME_MM: Final = 42.0
COLUMNS_MM: Final = (34.0, 20.0, 46.0, 50.0, 30.0)
HEADINGS: Final = ("Step", "Result", "Expected", "Measured", "Finding")
VERDICTS: Final = {
    Verdict.BOUND: "Bound: the starter inhibit was proved at this car and belongs to the lender named.",
    Verdict.MONITOR_ONLY: "Monitor only: the relay was not proved, so this box can lock nothing.",
    Verdict.REMOVED: "Removed: the box holds no authority any more.",
}
UNKNOWN: Final = "unknown"


def record_pdf(record: Record, *, sha256: bytes, signers: tuple[str, str]) -> bytes:
    """Return the PDF.

    Args:
        record: the decoded payload.
        sha256: of the payload, 32 bytes.
        signers: what is said of the signatures of box and installer.
    """
    page = _Page(sha256)
    page.title(record)
    page.facts("Vehicle", _vehicle(record))
    page.facts("Box", _box(record))
    page.facts("Wiring", list(zip(("Ignition wire", "Crank wire", "Start"), record.wiring, strict=True)))
    page.steps(record)
    page.facts("What was found", sorted(record.facts.items()))
    page.facts("Disclosure and signatures", _consent(record, signers))
    return page.data()


def _vehicle(record: Record) -> list[tuple[str, str]]:
    return [
        ("VIN", record.vin or UNKNOWN),
        ("VIN read by", str(record.vin_source or UNKNOWN)),
        ("Start type", record.start_type),
        ("Profile", record.profile or UNKNOWN),
        ("Lender", record.lender_id.hex()),
        ("Contract reference", record.contract_ref.hex()),
        ("Jurisdiction", record.jurisdiction),
    ]


def _box(record: Record) -> list[tuple[str, str]]:
    return [
        ("Box", str(record.device)),
        ("Microcontroller", record.mcu_id.hex()),
        ("Epoch", record.epoch.hex()),
        ("Job", record.job_id.hex()),
        ("Work ticket", record.ticket_id.hex()),
    ]


def _consent(record: Record, signers: tuple[str, str]) -> list[tuple[str, str]]:
    agreed = record.consent
    bind = "none" if record.bind is None else record.bind[0].hex()
    return [
        ("Disclosure", "not recorded" if agreed is None else f"text {agreed[0]}, {_utc(agreed[1])}"),
        ("BIND, SHA-256", bind),
        ("Signed by the box", signers[0]),
        ("Signed by installer", signers[1]),
        *((f"Photo {number}, SHA-256", photo.hex()) for number, photo in enumerate(record.photos, 1)),
    ]


class _Page:
    """What stands where."""

    def __init__(self, sha256: bytes) -> None:
        self._sha256 = sha256.hex()
        self._pdf = FPDF(format="A4")
        self._pdf.set_margin(MARGIN_MM)
        self._pdf.set_auto_page_break(auto=True, margin=MARGIN_MM)
        self._pdf.set_title("Commissioning record")
        self._pdf.set_subject(self._sha256)
        self._pdf.add_page()

    def title(self, record: Record) -> None:
        """Write the head of the page, with the code at its right."""
        pdf = self._pdf
        pdf.set_creation_date(dt.datetime.fromtimestamp(record.ended_s or 0, dt.UTC))
        self._code(pdf.w - MARGIN_MM - QR_MM, MARGIN_MM)
        self._font(16, is_bold=True)
        self._line("Commissioning record", height=8)
        self._font(10, is_bold=True)
        self._wrapped(VERDICTS[record.verdict])
        self._font(9)
        self._line(f"Act: {record.act}     began {_utc(record.began_s)}, ended {_utc(record.ended_s)}")
        self._line("SHA-256 of the signed record:")
        self._pdf.set_font("courier", size=8)
        self._line(self._sha256)
        pdf.set_y(max(pdf.get_y(), MARGIN_MM + QR_MM))

    def facts(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Write a heading and pairs of name and value."""
        if not rows:
            return
        self._heading(title)
        for name, value in rows:
            self._font(9)
            self._pdf.cell(NAME_MM, LINE_MM, _plain(name))
            self._pdf.multi_cell(0, LINE_MM, _plain(value) or "-", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def steps(self, record: Record) -> None:
        """Write the table of steps."""
        self._heading("Steps")
        self._font(8)
        with self._pdf.table(col_widths=COLUMNS_MM, line_height=LINE_MM, text_align="LEFT") as table:
            table.row(HEADINGS)
            for step in record.steps:
                shown = (with_unit(step.expected, step.unit), with_unit(step.measured, step.unit))
                # The record is signed while its own step runs.
                result = "signed here" if step.step is Step.RECORD else str(step.state).lower()
                table.row([_plain(text) for text in (str(step.step), result, *shown, step.code)])

    def data(self) -> bytes:
        """Return the file."""
        return bytes(self._pdf.output())

    def _code(self, left: float, top: float) -> None:
        matrix = segno.make_qr(QR_PREFIX + self._sha256, error="m").matrix
        side = QR_MM / len(matrix)
        self._pdf.set_fill_color(0)
        for row, line in enumerate(matrix):
            for column, is_dark in enumerate(line):
                if is_dark:
                    self._pdf.rect(left + column * side, top + row * side, side, side, style="F")

    def _heading(self, text: str) -> None:
        self._pdf.ln(2)
        self._font(11, is_bold=True)
        self._line(text, height=6)

    def _font(self, size: int, *, is_bold: bool = False) -> None:
        self._pdf.set_font("helvetica", style="B" if is_bold else "", size=size)

    def _line(self, text: str, height: float = LINE_MM) -> None:
        self._pdf.cell(0, height, _plain(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _wrapped(self, text: str) -> None:
        width = self._pdf.epw - QR_MM - LINE_MM
        self._pdf.multi_cell(width, LINE_MM, _plain(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def with_unit(text: str, unit: str) -> str:
    """Return a value with its unit, which it may have already; nothing for nothing."""
    return f"{text} {unit}" if text and unit and not text.endswith(f" {unit}") else text


def _plain(text: str) -> str:
    """Return a text in the letters of the built-in fonts, others as code points."""
    return "".join(
        letter if " " <= letter <= "~" or "\xa0" <= letter <= "\xff" else _named(letter) for letter in text
    )


def _named(letter: str) -> str:
    return f"\\u{ord(letter):04x}"


def _utc(seconds: int | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
