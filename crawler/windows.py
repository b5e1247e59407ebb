"""The hours of the day in which a host may be asked: ``22:00-06:00``, in local time, or in a zone that is named."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)(?: ([A-Za-z0-9_+/-]+))?")
_DAY = 24 * 60


class Window(NamedTuple):
    """Minutes after midnight; one that does not begin before it ends goes on into the next day. ``zone`` None: ours."""

    begins: int
    ends: int
    zone: tzinfo | None


@lru_cache(maxsize=1024)
def window(text: str) -> Window:
    """The window that is written as ``22:00-06:00`` or ``22:00-06:00 Europe/Berlin``. Raises ValueError."""
    match = _WINDOW.fullmatch(text.strip())
    hint = f"{text!r} is not a time of day such as 22:00-06:00 or '22:00-06:00 Europe/Berlin'"
    if not match:
        raise ValueError(hint)
    begins, ends = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
    if max(int(match[2]), int(match[4])) > 59 or begins >= _DAY or ends > _DAY or begins == ends:
        raise ValueError(hint)
    return Window(begins, ends, _zone(match[5]) if match[5] else None)


def next_open(windows: Sequence[str], now: float) -> float:
    """When, from `now` on (epoch seconds), the first of the windows is open: now if one is, or if there are none."""
    return min((_opens(window(text), now) for text in windows), default=now)


def _opens(one: Window, now: float) -> float:
    today = datetime.fromtimestamp(now, UTC).astimezone(one.zone).date()
    for day in range(-1, 4):  # yesterday's may last; a window can be lost to the clocks' going forward
        date = datetime.combine(today + timedelta(days=day), time())
        begins = _at(date + timedelta(minutes=one.begins), one.zone)
        ends = _at(date + timedelta(minutes=one.ends + (_DAY if one.ends <= one.begins else 0)), one.zone)
        if now < ends and begins < ends:
            return max(begins, now)
    raise AssertionError(f"{one} never opens")


def _at(wall: datetime, zone: tzinfo | None) -> float:
    return wall.replace(tzinfo=zone).timestamp()  # of a naive time: local


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  # for the few crawls that have hours; it searches the machine

    try:
        return UTC if name in {"Z", "UTC"} else ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # as the name is unknown, a folder's, or no name at all
        raise ValueError(f"there is no time zone {name!r} on this machine") from None
