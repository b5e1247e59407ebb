"""When two URLs of a host are one page: what of a URL makes its fingerprint. What is asked stays as it was found."""

import re
from collections.abc import Sequence

from crawler.settings import Settings
from crawler.urls import hostname, split


class Identity:
    """What URLs are known as: without the parameters that make no other page, such as session ids."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules: dict[str, _Rule] = {}
        self._is_one_for_all = all(
            host.drop_parameters is None and host.sort_query is None for host in settings.hosts.values()
        )

    def known_as(self, origin: str, path: str) -> str | None:
        """What a page is known as in place of its path with query; None where that is the path itself."""
        if "?" not in path and ";" not in path:
            return None
        return self._rule("" if self._is_one_for_all else origin).known_as(path)

    def is_same(self, url: str, other: str) -> bool:
        """Whether two canonical URLs are known as one page."""
        return url == other or self._name(url) == self._name(other)

    def _name(self, url: str) -> tuple[str, str]:
        origin, path = split(url)
        return origin, self.known_as(origin, path) or path

    def _rule(self, origin: str) -> "_Rule":
        rule = self._rules.get(origin)
        if rule is None:
            if len(self._rules) >= 10_000:
                self._rules.clear()
            chosen = self._settings.for_host(origin, hostname(origin))
            drop = self._settings.drop_parameters if chosen.drop_parameters is None else chosen.drop_parameters
            sort = self._settings.sort_query if chosen.sort_query is None else chosen.sort_query
            rule = self._rules[origin] = _Rule(drop, is_sorted=sort)
        return rule


class _Rule:
    def __init__(self, dropped: Sequence[str], *, is_sorted: bool) -> None:
        names = "|".join(re.escape(name).replace(r"\*", "[^=&;/?]*").replace(r"\?", "[^=&;/?]") for name in dropped)
        names = names or r"(?!)"
        self._any = re.compile(rf"[?&;](?:{names})(?![^=&;/?])", re.IGNORECASE)
        self._of_path = re.compile(rf";(?:{names})(?:=[^;/]*)?(?=[;/]|\Z)", re.IGNORECASE)
        self._of_query = re.compile(rf"(?:{names})(?:=.*)?", re.IGNORECASE | re.DOTALL)
        self._is_sorted = is_sorted

    def known_as(self, path: str) -> str | None:
        has_some = self._any.search(path)
        if not (has_some or (self._is_sorted and "&" in path)):
            return None
        folders, mark, query = path.partition("?")
        parts = query.split("&")
        if has_some:
            folders = self._of_path.sub("", folders)
            parts = [part for part in parts if not self._of_query.fullmatch(part)]
        if self._is_sorted:
            parts.sort(key=lambda part: part.partition("=")[0])  # those of one name stay in their order
        query = "&".join(parts)
        name = f"{folders}?{query}" if mark and (query or not has_some) else folders
        return None if name == path else name
