"""A list of URLs asked from a script, and how many seconds that took: by `crawl()`, or by requests with N threads.

python -m benchmarks.listed URLS.txt OUT.jsonl crawler|THREADS
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path


def by_crawl(file: str, out: str) -> None:
    from benchmarks.spiders import Listed  # the others need not have it
    from crawler import crawl

    settings = {"delay": 0, "concurrency_per_host": 100}
    crawl(Listed(file=file), output=out, folder=None, settings=settings)


def by_requests(file: str, out: str, threads: int) -> None:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))

    def ask(url: str) -> str:
        return json.dumps({"url": url, "bytes": len(session.get(url).content)}) + "\n"

    with ThreadPoolExecutor(threads) as pool, Path(out).open("w") as lines:
        lines.writelines(pool.map(ask, Path(file).read_text().splitlines()))


if __name__ == "__main__":
    file, out, how = sys.argv[1:4]
    for module in ("benchmarks.spiders", "crawler.job") if how == "crawler" else ("requests",):
        import_module(module)
    began = time.perf_counter()
    by_crawl(file, out) if how == "crawler" else by_requests(file, out, int(how))
    print(json.dumps({"seconds": time.perf_counter() - began}))
