"""A small PDF of plain text, written by hand (ISO 32000-1 section 7.5)."""

from collections.abc import Sequence

LINES_A_PAGE = 48
FONT = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >> >> >>"


def text_pdf(lines: Sequence[str]) -> bytes:
    """A4 pages that show these lines in Courier; characters outside Windows-1252 become question marks."""
    sheets = [lines[at : at + LINES_A_PAGE] for at in range(0, len(lines), LINES_A_PAGE)]
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(sheets)))
    inherited = f"/MediaBox [0 0 595 842] /Resources {FONT}"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(sheets)} /Kids [{kids}] {inherited} >>",
    ]
    for sheet in sheets:
        shown = "".join(f"({_escaped(line)}) Tj T*\n" for line in sheet)
        content = f"BT /F1 10 Tf 15 TL 50 790 Td\n{shown}ET"  # its length: Windows-1252 has one byte a character
        objects.append(f"<< /Type /Page /Parent 2 0 R /Contents {len(objects) + 2} 0 R >>")
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    return _file([text.encode("cp1252", "replace") for text in objects])


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _file(objects: Sequence[bytes]) -> bytes:
    written, table = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, content in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(written)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    size, start = len(objects) + 1, len(written)
    return written + b"xref\n0 %d\n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        size, table, size, start,
    )  # fmt: skip
