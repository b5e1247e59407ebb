"""What users import is pinned: a name that goes, or a type that gets vague, is a decision and no accident."""

import inspect
from collections.abc import Iterator

import crawler
from crawler import Scope, Spider

NAMES = [
    "Basic", "Bearer", "Crawl", "CrawlerError", "FetchError", "Limits", "LinkRules", "Request", "Response", "Scope",
    "Spider", "crawl",
]  # fmt: skip
VAGUE_ON_PURPOSE = {"Response.json", "Response.data"}  # JSON is what it is; of the second a type checker knows more


def test_public_names() -> None:
    """The package offers these names, and each can be had."""
    assert crawler.__all__ == NAMES
    for name in NAMES:
        assert getattr(crawler, name).__doc__, name


def signatures() -> Iterator[tuple[str, inspect.Signature]]:
    for name in NAMES:
        public = getattr(crawler, name)
        if not inspect.isclass(public):
            yield name, inspect.signature(public)
            continue
        for member, value in vars(public).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(function) and not member.startswith("_"):
                yield f"{name}.{member}", inspect.signature(function)


def test_no_public_signature_is_vague() -> None:
    """Every public parameter and result has a type, and it is not Any."""
    seen = 0
    for name, signature in signatures():
        hints = [p.annotation for p in signature.parameters.values() if p.name not in {"self", "cls"}]
        for hint in (*hints, signature.return_annotation):
            assert hint is not inspect.Parameter.empty, name
            assert name in VAGUE_ON_PURPOSE or "Any" not in str(hint).replace("typing.Any", "Any").split("[")[0], name
        seen += 1
    assert seen > 25


def test_a_spider_knows_its_arguments() -> None:
    """However a spider is made, what it was given tells its job from another's."""

    class Shop(Spider):
        def __init__(self, start: str, pages: int = 1) -> None:
            super().__init__()
            self.seeds = [start]
            self.scope = Scope.below(start)

    assert Shop("http://a.test/", pages=2).given == Shop(pages=2, start="http://a.test/").given
    assert Shop("http://a.test/").given == {"start": "http://a.test/"}
    assert Shop("http://a.test/").given != Shop("http://b.test/").given
