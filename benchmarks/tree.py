"""Sites that nginx makes up as they are asked: pages whose links are their own address and one digit more."""

from benchmarks.nginx import DOMAIN, Server

TEXT = "<p>" + "The page is made up, and each of its words is as good as any other. " * 12 + "</p>"
DIGITS = range(10)


def tree(depth: int) -> str:
    """Server blocks of a web of 10^depth pages and a ninth more, ten to a host: ``h.bench.test`` links to ten hosts."""
    hosts = "".join(f'<a href="http://h${{n}}{digit}.{DOMAIN}:PORT/">{digit}</a> ' for digit in DIGITS)
    leaves = "".join(f'<a href="/{digit}">{digit}</a> ' for digit in DIGITS)
    return f"""
    server {{
      listen PORT; server_name "~^h(?<n>[0-9]{{0,{depth - 2}}})\\.";
      location = / {{ return 200 '<title>host $n</title>{TEXT}{hosts}'; }}
      location / {{ return 404; }}
    }}
    server {{
      listen PORT; server_name "~^h(?<n>[0-9]{{{depth - 1}}})\\.";
      location = / {{ return 200 '<title>host $n</title>{TEXT}{leaves}'; }}
      location ~ ^/[0-9]$ {{ return 200 '<title>page $n$uri</title>{TEXT}'; }}
      location / {{ return 404; }}
    }}"""


def pages(depth: int) -> int:
    """How many pages there are."""
    return sum(10**level for level in range(depth + 1))


def hosts(depth: int) -> int:
    """How many hosts there are."""
    return sum(10**level for level in range(depth))


def start(server: Server) -> str:
    """The page where the web begins."""
    return f"http://h.{DOMAIN}:{server.port}/"


def addresses() -> str:
    """The setting that resolves its names: to several addresses, since each has a limited number of ports."""
    return "resolve=" + ",".join(
        [f"h{digit}*.{DOMAIN}=127.2.0.{digit + 1}" for digit in DIGITS] + [f"*.{DOMAIN}=127.0.0.1"]
    )


def chains() -> str:
    """A server block of hosts ``s….bench.test`` whose pages each lead to one further page, without end."""
    return f"""
    server {{
      listen PORT; server_name ~^s[0-9]+\\.;
      location ~ ^/1+$ {{ return 200 '<title>$uri</title>{TEXT}<a href="${{uri}}1">next</a>'; }}
      location / {{ return 404; }}
    }}"""
