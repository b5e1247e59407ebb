"""Links that a machine makes without end: calendars, counters, paths that grow, facets heaped on facets."""

from collections import Counter

from msgspec import Struct

from crawler.urls import split

SEGMENTS, REPEATED, PARAMETERS = "trap: path segments", "trap: repeated segment", "trap: query parameters"
SAME, BARREN = "trap: same content", "trap: nothing new"
SETTING_OF = {
    SEGMENTS: "max_path_segments", REPEATED: "max_repeated_segments", PARAMETERS: "max_query_parameters",
    SAME: "max_same_pages", BARREN: "max_barren_pages",
}  # fmt: skip


class TrapLimits(Struct, frozen=True):
    """How far the paths of honest pages go; see the settings of these names."""

    max_path_segments: int = 20
    max_repeated_segments: int = 3
    max_query_parameters: int = 10

    def trap(self, url: str) -> str | None:
        """Why a canonical URL looks like a trap's; None when it does not."""
        # this is asked of every new link: counting is cheap, and few need more than that
        if url.count("&") >= self.max_query_parameters:
            return self._closer(url)
        slashes = url.count("/") - 2
        if slashes > self.max_repeated_segments or slashes > self.max_path_segments:
            segments = url.partition("?")[0].split("/")  # scheme, nothing, host, and those of the path
            repeated = len(segments) - len(set(segments))
            if repeated >= self.max_repeated_segments or len(segments) - 3 > self.max_path_segments:
                return self._closer(url)
        return None

    def _closer(self, url: str) -> str | None:
        folders, _, query = split(url)[1].partition("?")
        segments = folders[1:].split("/")
        if len(segments) - (not segments[-1]) > self.max_path_segments:
            return SEGMENTS
        if max(Counter(filter(None, segments)).values(), default=0) > self.max_repeated_segments:
            return REPEATED
        if query and query.count("&") + 1 > self.max_query_parameters:
            return PARAMETERS
        return None
