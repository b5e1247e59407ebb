"""crawler: kill it at any moment, run the same command again, and nothing is lost or doubled.

The floors, from the ground; a file imports from its own floor or from below:

    0 rules      errors models urls scope settings robots politeness     plain functions and data: no I/O, no asyncio
                 redirects decoding charset budget seen sitemaps
                 credentials proxies cookies traps identity
                 circuit windows tempo directives asked addresses
                 groups markup stages floods revisit changes
                 shapes likeness version
    1 authors    tree html links forms formdata requests response        what the author of a spider touches
                 session wraps spider items names children
    2 ports      fetch frontier files sinks                              the network, the journal, the disk
    3 crawl      lane workbench feeder engine committer turns            one page's journey
                 asking hops door wrapping downloads discovery
                 visits linker handling parsing trial logins rotation
                 export stats profile progress pressure machine
                 recrawl job processes
    4 doors      cli demo testing simulation                             how people come in
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.credentials import Basic as Basic
    from crawler.credentials import Bearer as Bearer
    from crawler.errors import CrawlerError as CrawlerError
    from crawler.errors import FetchError as FetchError
    from crawler.job import Crawl as Crawl
    from crawler.job import Limits as Limits
    from crawler.job import crawl as crawl
    from crawler.links import LinkRules as LinkRules
    from crawler.models import Request as Request
    from crawler.response import Response as Response
    from crawler.scope import Scope as Scope
    from crawler.spider import Spider as Spider

_HOME = {
    "Basic": "credentials", "Bearer": "credentials", "Crawl": "job", "Limits": "job", "crawl": "job",
    "CrawlerError": "errors", "FetchError": "errors", "LinkRules": "links", "Request": "models", "Response": "response",
    "Scope": "scope", "Spider": "spider",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605  # a list of strings, as it should be


def __getattr__(name: str) -> object:
    """Load a public name when it is first used, so that ``crawler --help`` need not wait for a network library."""
    if name not in _HOME:
        raise AttributeError(f"module 'crawler' has no attribute {name!r}")
    return getattr(import_module(f"crawler.{_HOME[name]}"), name)
