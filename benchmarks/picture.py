"""Simple pictures as SVG: bars, and lines."""

from html import escape

from benchmarks.results import Bars, Lines

WIDTH, BAR, LABELS, FIGURES = 760, 22, 300, 90
HEIGHT, LEFT, FOOT = 260, 70, 40
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed")
OURS = "crawler"


def drawn(picture: Bars | Lines) -> str:
    """A picture's SVG."""
    return _bars(picture) if isinstance(picture, Bars) else _lines(picture)


def _bars(picture: Bars) -> str:
    most = max(picture.bars.values(), default=0) or 1
    parts = [_text(WIDTH - FIGURES, 16, picture.unit, "end")]
    for place, (label, figure) in enumerate(picture.bars.items()):
        y, length = 26 + place * BAR, figure / most * (WIDTH - LABELS - FIGURES)
        colour = COLOURS[0] if OURS in label else "#9ca3af"
        parts.append(_text(LABELS - 8, y + 14, label, "end"))
        parts.append(f'<rect x="{LABELS}" y="{y}" width="{max(1, length):.1f}" height="{BAR - 5}" fill="{colour}"/>')
        parts.append(_text(LABELS + length + 6, y + 14, f"{figure:,.4g}" if figure < 100 else f"{figure:,.0f}"))
    return _svg(30 + BAR * len(picture.bars), parts)


def _lines(picture: Lines) -> str:
    points = [point for line in picture.lines.values() for point in line]
    across = max((x for x, _ in points), default=0) or 1
    up = max((y for _, y in points), default=0) * 1.1 or 1
    width, height = WIDTH - LEFT - 20, HEIGHT - FOOT - 30
    parts = [f'<path d="M{LEFT} 30V{HEIGHT - FOOT}H{WIDTH - 20}" fill="none" stroke="#6b7280"/>']
    parts += [_text(LEFT, 18, picture.unit), _text(WIDTH - 20, HEIGHT - 8, picture.across, "end")]
    for part in (0.0, 0.5, 1.0):
        parts.append(_text(LEFT - 6, HEIGHT - FOOT - part * height + 4, f"{up * part:,.3g}", "end"))
        parts.append(_text(LEFT + part * width, HEIGHT - FOOT + 16, f"{across * part:,.3g}", "middle"))
    for place, (label, line) in enumerate(picture.lines.items()):
        path = " ".join(f"{LEFT + x / across * width:.1f},{HEIGHT - FOOT - y / up * height:.1f}" for x, y in line)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(LEFT + 130 + 180 * place, 18, label, fill=colour))
    return _svg(HEIGHT, parts)


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#374151") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _svg(height: int, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
