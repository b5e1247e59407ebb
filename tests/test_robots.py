import itertools
import random
import time

import ada_url
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robotstxt import RobotsMatcher  # type: ignore[import-untyped]  # fast-robotstxt ships no types
from robotstxt import robots as google

from crawler.robots import ALLOW_ALL, DISALLOW_ALL, MAX_BYTES, Robots, parse

TOKEN = "Our_Bot-x"
MATCHER = RobotsMatcher()
LONGEST_LINE = 8 * 2083 - 1


def google_allows(body: bytes, path: str) -> bool:
    """Ask Google's parser in fast-robotstxt, which adds RFC 9309's escapes to it; only its C interface takes bytes."""
    texts = (body, TOKEN.encode(), b"https://example.com" + path.encode())
    arguments = itertools.chain.from_iterable((text, len(text)) for text in texts)
    return bool(google._lib.robots_allowed_by_robots(MATCHER._ptr, *arguments))


def allows(body: bytes, path: str) -> bool:
    """Our verdict, which must be Google's too."""
    verdict = parse(body, TOKEN).allows(path)
    assert verdict == google_allows(body, path), (body, path)
    return verdict


def canonical(path: str) -> str:
    url = ada_url.URL("https://example.com" + path)
    return url.pathname + url.search


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/", "/ /a?b=c", ""),
        ("/fish", "/fish /fish/salmon.html /fishheads?id=1", "/ /Fish.asp /catfish /?id=fish"),
        ("/*.php", "/index.php /folder/any.php.file?x", "/ /windows.PHP"),
        ("/*.php$", "/index.php /a.php/b.php", "/index.php?x=1 /index.php5"),
        ("/fish*.php", "/fish.php /fishheads/catfish.php?x", "/Fish.PHP /.php"),
        ("/a*b*c", "/abc /a-c-b-c", "/a-c-b"),
        ("/*/*/x", "/a/b/x ///x", "/a/x //x"),
        ("/a$", "/a", "/ab /a?b /a$"),
        ("/a$b*", "/a$b", "/a /ab"),
        ("/a*$", "/a /abc", "/b"),
        ("*$", "/ /a", ""),
        ("$", "", "/ /$"),
        ("", "", "/ /a"),
        ("fish", "", "/fish"),
        ("*fish", "/catfish", "/cat"),
        ("/foo/ツ", "/foo/%E3%83%84 /foo/%e3%83%84", "/foo/%E3%83%85"),
        ("/foo/%E3%83%84", "/foo/%E3%83%84 /foo/%e3%83%84", "/foo/E38384"),
        ("/foo/%62%61%7A", "/foo/baz /foo/%62a%7a", "/foo/bar"),
        ("/foo/baz", "/foo/%62%61%7A", "/foo/%62%61%72"),
        ("/foo?baz=https://foo.bar", "/foo?baz=https%3A%2F%2Ffoo.bar", ""),
        ("/a b", "/a%20b", "/a+b"),
        ("/file-with-a-%2A.html", "/file-with-a-*.html", "/file-with-a-b.html"),
        ("/foo-%24", "/foo-$ /foo-$-bar", "/foo-"),
        ("/%zz", "/%zz", "/zz"),
        ("/%4", "/%4 /%4g", "/%41"),
        ("/%", "/% /%25", "/%41"),
        ("/*F", "/%2F", "/%2f"),
        ("/*2A", "/*", "/2"),
        ("/*24", "/$", "/2"),
        ("/*9$", "/%C3%A9", "/%A9%C3"),
    ],
)
def test_a_pattern_matches_from_the_first_octet_on(pattern: str, matching: str, others: str) -> None:
    """A pattern is a prefix; "*" is any octets, a last "$" the end, escapes are octets (RFC 9309 2.2.2, 2.2.3)."""
    body = f"User-agent: *\nDisallow: {pattern}".encode()
    assert [path for path in f"{matching} {others}".split() if not allows(body, path)] == matching.split()


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Disallow: /\nAllow: /a", "/a", True),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Allow: /page\nDisallow: /*.ht", "/page.htm", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Allow: /%C3\nDisallow: /é", "/%C3%A9", False),
        ("Allow: /***\nDisallow: /ab", "/ab", True),
        ("Disallow:\nDisallow: /a", "/a", False),
        ("Allow:\nDisallow: /", "/a", False),
        ("", "/a", True),
    ],
)
def test_the_longest_match_decides_and_allow_wins_a_tie(rules: str, path: str, allowed: bool) -> None:
    """The match with the most octets is used, "allow" among equals; without a match all is allowed (RFC 9309 2.2.2)."""
    assert allows(f"User-agent: *\n{rules}".encode(), path) is allowed


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("/a/index.html", "/a/ /a/index.html"),
        ("/a/index.html5", "/a/"),
        ("/*/index.html", "/a/ /b/c/ /a/index.html"),
        ("/a/index.php", ""),
        ("index.html", ""),
    ],
)
def test_allowing_an_index_page_allows_its_folder(pattern: str, allowed: str) -> None:
    """ "Allow: /dir/index.html" also allows "/dir/", and nothing else in it."""
    body = f"User-agent: *\nAllow: {pattern}\nDisallow: /".encode()
    paths = ["/", "/a/", "/b/c/", "/a/index.html", "/a", "/a/b"]
    assert [path for path in paths if allows(body, path)] == allowed.split()


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ("User-agent: our_bot-X\nDisallow: /", False),
        ("User-agent: Our_Bot-xy\nDisallow: /", True),
        ("User-agent: * and more\nDisallow: /", False),
        ("User-agent: *\nDisallow: /\nUser-agent: Our_Bot-x\nAllow: /b", True),
        ("User-agent: *\nDisallow: /\nUser-agent: Our_Bot-x", True),
        ("User-agent: Our_Bot-x\nUser-agent: other\n\nDisallow: /", False),
        ("User-agent: other\n\nUser-agent: Our_Bot-x\n\nDisallow: /", False),
        ("User-agent: Our_Bot-x\nUser-agent: *\nDisallow: /\nUser-agent: other\nAllow: /", False),
        ("User-agent: Our_Bot-x\nSitemap: /s\nCrawl-delay: 1\nUser-agent: other\nDisallow: /", False),
        ("User-agent: Our_Bot-x\nAllow: /b\nUser-agent: other\nDisallow: /", True),
        ("User-agent: Our_Bot-x\nAllow: /b\nUser-agent: other\nAllow: /\nUser-agent: Our_Bot-x\nDisallow: /", False),
        ("User-agent: *\nAllow: /b\nUser-agent: other\nAllow: /\nUser-agent: *\nDisallow: /", False),
        ("Disallow: /\nUser-agent: Our_Bot-x\nAllow: /b", True),
    ],
)
def test_the_groups_that_name_us_are_one_and_star_is_for_the_unnamed(body: str, allowed: bool) -> None:
    """Groups of one token merge, case is ignored, and only a crawler without a group obeys "*" (RFC 9309 2.2.1)."""
    assert allows(body.encode(), "/a") is allowed


RULES = ["Disallow:/a", "disallow: /a", "DISALLOW : /a", " \tDisallow\t:\t/a \t", "Disallow:/a# no", "Disallow: /a #no"]
RULES += ["Disallow /a", "Disallow\t/a", "Disallowed: /a", "Disallow\f:\v/a\f", "Disallow \v /a"]
RULES += ["Dissallow: /a", "Dissalow: /a", "Disalow: /a", "Diasllow: /a", "Disallaw: /a"]
NO_RULES = ["Disallow", "Disallow: # /a", "#Disallow: /a", "Disallow /a b", ": /a", "Dis allow: /a", "Nofollow: /a"]


@pytest.mark.parametrize("line", RULES)
def test_any_line_end_space_and_frequent_misspelling_is_understood(line: str) -> None:
    """Byte order marks, comments, white space and all kinds of line ends are understood, and usual misspellings too."""
    starts = [b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef", b"\n", b"#\n", b"\xff\x00\n"]
    for start, end in itertools.product(starts, ["\n", "\r", "\r\n", "\n\r", "\n\n\r\r"]):
        body = start + end.join(["user agent : *", line, "Allow: /ab", ""]).encode()
        assert [allows(body, path) for path in ("/a", "/ab", "/")] == [False, True, True], body


@pytest.mark.parametrize("line", NO_RULES)
def test_a_line_that_is_no_rule_is_ignored(line: str) -> None:
    """A line without key, or with an unknown one, or three words without a colon, has no effect."""
    assert allows(f"User-agent: *\n{line}\n".encode(), "/a")


@pytest.mark.parametrize(("body", "path"), [(b"/\xe9", "/%E9"), (b"/\xff\xfe*x", "/%FF%FE-x"), (b"/a\0b", "/a%00b")])
def test_octets_that_are_no_text_match_their_escapes(body: bytes, path: str) -> None:
    """Bytes that are not UTF-8, and NUL, stand for themselves."""
    assert not allows(b"User-agent: *\nDisallow: " + body, path)
    assert allows(b"User-agent: *\nDisallow: " + body, "/")


def test_a_line_ends_where_google_stops_reading_it() -> None:
    """Only the first 16,663 bytes of a line are read."""
    path = "/" + "a" * (LONGEST_LINE - len("Disallow: /$"))
    assert allows(f"User-agent: *\nDisallow: {path}$".encode(), path + "ab")
    assert not allows(f"User-agent: *\nDisallow: {path}a$".encode(), path + "ab")


def padded(head: bytes, size: int) -> bytes:
    return head + b"#" * (size - len(head) - 1) + b"\n"


def test_what_is_behind_the_first_512000_bytes_is_ignored() -> None:
    """RFC 9309 section 2.5: "The parsing limit MUST be at least 500 kibibytes"; Google's parser itself has none."""
    body = padded(b"User-agent: *\n", MAX_BYTES - len(b"Disallow: /")) + b"Disallow: /"
    assert not allows(body, "/a")
    assert not parse(body + b"\nAllow: /a", TOKEN).allows("/a")
    assert google_allows(body + b"\nAllow: /a", "/a")


def test_a_rule_that_the_limit_cuts_is_no_rule() -> None:
    """Half of "Allow: /public" is never read as "Allow: /"."""
    body = padded(b"User-agent: *\nDisallow: /\n", MAX_BYTES - len(b"Allow: /")) + b"Allow: /public"
    assert not parse(body, TOKEN).allows("/a")
    assert parse(body[:MAX_BYTES] + b"\npublic", TOKEN).allows("/a")


def test_robots_txt_is_always_allowed() -> None:
    """RFC 9309 section 2.2.2: "The /robots.txt URI is implicitly allowed"; Google's parser does not know it."""
    body = b"User-agent: *\nDisallow: /"
    assert parse(body, TOKEN).allows("/robots.txt")
    assert not google_allows(body, "/robots.txt")
    assert not allows(body, "/robots.txt?a")


def test_a_star_inside_an_escaped_three_ends_at_every_place() -> None:
    """RFC 9309 section 2.2.3: "*" is "0 or more instances of any character"; Google's parser loses places in "%33"."""
    body = b"User-agent: *\nDisallow: /*3*3$"
    assert not parse(body, TOKEN).allows("/%33")
    assert google_allows(body, "/%33")


def test_a_nul_before_an_index_page_is_only_itself() -> None:
    """RFC 9309 section 2.2.2: a match has no "difference in octets"; Google's parser overwrites what follows NUL."""
    body = b"User-agent: *\nDisallow: /\nAllow: /\0b/index.html"
    assert parse(body, TOKEN).allows("/%00b/")
    assert not google_allows(body, "/%00b/")


NO_DELAYS = ["-1", "nan", "inf", "1e3", "1_000", "٣", "soon", "", "1.2.3", "9" * 5000, "9" * 5000 + "x"]
NO_RATES = ["0/1", "1", "1/", "/1", "1/5d", "-1/5", "1/-5", "1.5/5", f"{'9' * 5000}/{'9' * 5000}", f"1/{'9' * 5000}"]


UNREADABLE = [f"Crawl-delay: {no}" for no in NO_DELAYS] + [f"Request-rate: {no}" for no in NO_RATES]


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_delay_that_is_no_number_is_not_stated(line: str) -> None:
    """Negative, infinite and unreadable delays are as if absent."""
    assert parse(f"User-agent: *\n{line}".encode(), TOKEN).crawl_delay is None


@pytest.mark.parametrize(
    ("fields", "delay"),
    [
        ("crawldelay: 2.5", 2.5),
        ("Crawl delay: .5", 0.5),
        ("Crawl-delay 3.", 3.0),
        ("Crawl-delay: x\nCrawl-delay: 0\nCrawl-delay: 7", 0.0),
        ("Request-rate: 2/5", 2.5),
        ("Request-rate: 1 / 2 M", 120.0),
        ("Request-rate: 4/1h", 900.0),
        ("Request-rate: 1/5s\nCrawl-delay: 10", 10.0),
        ("Crawl-delay: 1\nRequest-rate: 1/5", 5.0),
        ("Disallow: /a\nUser-agent: other\nCrawl-delay: 9", None),
        ("Disallow: /a\nUser-agent: Our_Bot-x\nDisallow: /a\nUser-agent: *\nCrawl-delay: 9", None),
        ("Disallow: /a\nUser-agent: Our_Bot-x\nCrawl-delay: 2\nUser-agent: *\nCrawl-delay: 9", 2.0),
        ("Crawl-delay: 9\nUser-agent: Our_Bot-x\nCrawl-delay: 2", 2.0),
    ],
)
def test_crawl_delay_is_what_our_group_states_first(fields: str, delay: float | None) -> None:
    """Crawl-delay and Request-rate are seconds between requests, the longer counts, and other groups' do not."""
    assert parse(f"User-agent: *\n{fields}".encode(), TOKEN).crawl_delay == delay
    assert parse(fields.partition("User-agent")[0].encode(), TOKEN).crawl_delay is None


def test_sitemaps_are_those_of_the_whole_file_in_order() -> None:
    """Sitemap lines belong to no group; each is listed once, and bytes that are not UTF-8 do no harm."""
    lines = [b"Sitemap: https://a/1", b"User-agent: x", b"site-map:https://a/\xc3\xa9", b"Disallow: /"]
    lines += [b"SITEMAP : /2 # c", b"Sitemap:", b"Sitemap: https://a/1", b"sitemaps: \xff"]
    assert parse(b"\n".join(lines), TOKEN).sitemaps == ("https://a/1", "https://a/é", "/2", "\ufffd")


def test_the_two_constant_verdicts() -> None:
    """ALLOW_ALL allows everything, DISALLOW_ALL nothing but /robots.txt; verdicts that say the same are equal."""
    paths = ["/", "/a?b", "/robots.txt", "/robots.txt/"]
    assert [path for path in paths if ALLOW_ALL.allows(path)] == paths
    assert [path for path in paths if DISALLOW_ALL.allows(path)] == ["/robots.txt"]
    assert [(robots.crawl_delay, robots.sitemaps) for robots in (ALLOW_ALL, DISALLOW_ALL)] == [(None, ())] * 2
    assert {ALLOW_ALL, DISALLOW_ALL, parse(b"", TOKEN), Robots()} == {ALLOW_ALL, DISALLOW_ALL}


# No "%33", and no NUL together with an index page, for there Google's parser is wrong.
OCTETS = [*"///ab**$%é?=& FCA24.~ÿ\v", "%2F", "%2f", "%41", "%2A", "%24", "%c3%A9", "%25", "%zz", "%00", "%0A"]
OCTETS += ["index.html", "index.htm"]
AGENT_KEYS = ["User-agent"] * 9 + ["useragent", "USER AGENT", "user-agents", "user_agent", "agent"]
AGENTS = [TOKEN, "our_bot-X", "*", "* x", "*x", "Our_Bot-x/2", "Our_Bot-xy", "Our_Bot", "other", "", "*\tz"]
RULE_KEYS = ["Allow", "Disallow"] * 5 + ["disalow", "dissallow", "DISSALOW", "diasllow", "disallaw", "allowed"]
OTHER_KEYS = ["alow", "Noindex", "", "Sitemap", "site-map", "Crawl-delay", "crawl delay", "Request-rate", "dis allow"]
SEPARATORS = [":", ": ", " : "] * 4 + [" ", "\t", "  ", ":\t", "", "::", " \v "]
LINE_ENDS = ["\n"] * 5 + ["\r\n", "\r", "\n\n", "\n\r", "\r\r\n", "#c\n", " # c: d\n", "\t\n", "\f\n"]
ODD_LINES = ["", "   ", "#", "foo", "foo bar baz", ":", "a:b", ":/a", "\x00", "\x00Disallow: /", "Disallow: /\x00"]


def random_pattern(rng: random.Random, octets: list[str]) -> str:
    pattern = rng.choice(["/"] * 6 + ["*", ""]) + "".join(rng.choices(octets, k=rng.randrange(7)))
    if rng.random() < 0.01:  # reaches about the longest line
        return pattern + "/" + "a" * rng.randrange(LONGEST_LINE - 40, LONGEST_LINE) + pattern
    return pattern


def random_line(rng: random.Random, patterns: list[str]) -> str:
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(AGENT_KEYS) + rng.choice(SEPARATORS) + rng.choice(AGENTS)
    if kind < 0.9:
        return rng.choice(RULE_KEYS) + rng.choice(SEPARATORS) + rng.choice(patterns)
    return rng.choice([*ODD_LINES, rng.choice(OTHER_KEYS) + rng.choice(SEPARATORS) + rng.choice(patterns)])


def random_body(rng: random.Random, patterns: list[str]) -> bytes:
    head = f"User-agent: {rng.choice(AGENTS[:4])}\n" if rng.random() < 0.8 else ""
    lines = (random_line(rng, patterns) + rng.choice(LINE_ENDS) for _ in range(rng.randrange(1, 12)))
    body = (head + "".join(lines)).encode(rng.choice(["utf-8", "utf-8", "latin-1"]))
    return rng.choice([b""] * 12 + [b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"]) + body


def random_path(rng: random.Random, octets: list[str], patterns: list[str]) -> str:
    if rng.random() < 0.5:
        return canonical("/" + "".join(rng.choices(octets, k=rng.randrange(8))))
    filled = [rng.choice(octets) if char in "*$" and rng.random() < 0.8 else char for char in rng.choice(patterns)]
    return canonical("/" + "".join(filled).removeprefix("/") + rng.choice(["", *octets]))


def compare(seed: int, files: int) -> tuple[list[tuple[bytes, str]], int]:
    """Ask both parsers for ten paths of each of so many files: where they differ, and how many cases are disallowed."""
    rng = random.Random(seed)
    differing, disallowed = [], 0
    for _ in range(files):
        octets = ["*", *rng.sample(OCTETS, rng.choice([2, 6, 20]))]
        patterns = [random_pattern(rng, octets) for _ in range(4)]
        body = random_body(rng, patterns)
        robots = parse(body, TOKEN)
        for path in [random_path(rng, octets, patterns) for _ in range(10)]:
            verdict = google_allows(body, path)
            disallowed += not verdict
            if robots.allows(path) is not verdict:
                differing.append((body, path))
    return differing, disallowed


@pytest.mark.parametrize("seed", range(8))
def test_generated_files_mean_what_google_says(seed: int) -> None:
    """Of 4,000 nasty cases for each seed none is judged otherwise than by Google's parser."""
    differing, disallowed = compare(seed, files=400)
    assert differing == []
    assert disallowed > 400, "too few cases are disallowed for the agreement to mean much"


HOSTILE = {
    "blank lines": "\n",
    "no fields": "a\n",
    "short patterns": "Allow:*{}\n",
    "stars and octets": "Disallow:/" + "*a" * 5000 + "{}x\n",
    "stars only": "Disallow:/" + "*" * 9990 + "{}x\n",
    "stars and digits": "Disallow:/" + "*3" * 5000 + "{}x\n",
    "periodic segments": "Disallow:/*" + "ab" * 500 + "*" + "ba" * 500 + "{}x\n",
    "escapes": "Disallow:/*" + "%41" * 5000 + "{}\n",
    "growing prefixes": "Allow:/" + "{1}" + "\n",
    "index pages": "Allow:/{}/index.html\n",
    "delays": "Crawl-delay:" + "9" * 8000 + "." + "9" * 8000 + "x\n",
    "rates": "Request-rate:" + "9" * 8000 + " " * 8000 + "/x\n",
    "sitemaps": "Sitemap:{}\n",
}
LONG_PATHS = ["/" + octets * (8000 // len(octets)) for octets in ("a", "ab", "%61", "%33", "*", "%41a3")]


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_file_is_slow(line: str) -> None:
    """The largest file of the worst lines is read in well under a second, and each of six long paths judged in half."""
    lines = (line.format(number, "a" * number) if "{" in line else line for number in itertools.count())
    body, size = ["User-agent: *\n"], 0
    while size < MAX_BYTES:
        body.append(next(lines))
        size += len(body[-1])
    started = time.thread_time()
    robots = parse("".join(body).encode(), TOKEN)
    parsed = time.thread_time()
    for path in LONG_PATHS:
        robots.allows(path)
    assert parsed - started < 1
    assert time.thread_time() - parsed < 3


def test_a_usual_file_is_fast() -> None:
    """A path is held against a hundred plain rules in microseconds, since every URL of a site is."""
    robots = parse(b"User-agent: *\n" + b"".join(b"Disallow: /%d/\n" % number for number in range(100)), TOKEN)
    started = time.thread_time()
    for _ in range(10_000):
        robots.allows("/catalogue/some-product_123/index.html?page=4")
    assert time.thread_time() - started < 0.5


WORDS = [*AGENT_KEYS, *AGENTS, *RULE_KEYS, *OTHER_KEYS, *SEPARATORS, *LINE_ENDS, *OCTETS, "1/5m", "9" * 400]
ROBOTS_LIKE = st.lists(st.sampled_from(WORDS).map(str.encode) | st.binary(max_size=4)).map(b"".join)


@settings(deadline=None)
@given(body=st.binary() | ROBOTS_LIKE, token=st.text(max_size=5) | st.just(TOKEN), path=st.text(max_size=20))
def test_parse_never_raises(body: bytes, token: str, path: str) -> None:
    """Whatever the bytes, there is a verdict on every canonical path, and a delay is a number."""
    robots = parse(body, token)
    assert robots.allows(canonical("/" + path)) in {True, False}
    assert robots.allows("/robots.txt")
    assert robots.crawl_delay is None or robots.crawl_delay >= 0


@settings(max_examples=15, deadline=None)
@given(part=(st.binary(min_size=1) | ROBOTS_LIKE).filter(len), path=st.text(min_size=1, max_size=20))
def test_parse_takes_bounded_time(part: bytes, path: str) -> None:
    """Any bytes, repeated to the largest file, are read in well under a second."""
    body = b"User-agent: *\nDisallow: /" + part * (MAX_BYTES // len(part))
    started = time.thread_time()
    parse(body, TOKEN).allows(canonical("/" + path * 100))
    assert time.thread_time() - started < 1
