"""What the X-Robots-Tag headers of an answer say to one crawler, as Google documents them; there is no standard."""

from collections.abc import Iterable, Iterator

_EVERYONE = frozenset({"", "*", "robots"})
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def directives(lines: Iterable[str], token: str) -> frozenset[str]:
    """The directives, in lower case, that the header's lines give to all robots or to the one with this product token.

    A line may begin with a robot's name and a colon, "otherbot: noindex, nofollow": up to the next name all is for it.
    """
    ours = _EVERYONE | {token.lower()}
    return frozenset(directive for line in lines for agent, directive in _said(line) if agent in ours)


def _said(line: str) -> Iterator[tuple[str, str]]:
    agent = ""
    for part in line.lower().split(","):
        name, colon, rest = (text.strip() for text in part.partition(":"))
        if colon and name not in _WITH_VALUE:
            agent, part = name, rest  # noqa: PLW2901  # what is left of it
        if part.strip():
            yield agent, part.strip()
