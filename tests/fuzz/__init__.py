"""What the network may send, made up at random, and what has to hold of it.

words       how inputs are made, and what a target is
addresses   URLs, redirects, what a URL is known as
headers     cookies, directives, links, waits, charsets
files       robots.txt, sitemaps, packed bodies
pages       HTML: its links, its text, its forms, and what the parser may cost

``python -m tests.fuzz --minutes 60`` goes on for as long as it is told to; ``tests/test_fuzz.py`` is the short form.
"""

from tests.fuzz import addresses, files, headers, pages
from tests.fuzz.words import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (addresses, headers, files, pages) for target in module.TARGETS
}
