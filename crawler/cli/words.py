"""How numbers are told to people."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def size(count: float) -> str:
    """``317 bytes``, ``1.2 MiB``."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count /= 1024
        power += 1
    return f"{count:.{1 if power else 0}f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s" if minutes else f"{left} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """``1 page``, ``1,234 pages``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
