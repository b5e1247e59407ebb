"""Benchmarks: one command measures, prints and writes down what a crawl costs, beside a hand-written loop and others.

    python -m benchmarks              all cases, some twenty minutes; writes benchmarks/results and docs/benchmarks.md
    python -m benchmarks manuals tls  these cases
    python -m benchmarks --quick      small sizes, two minutes; writes to output/benchmarks
    python -m benchmarks --whole      the largest sizes: 10^7 known URLs, 10^6 pages; hours

Needs nginx and openssl; the other crawlers come with ``pip install .[bench]``, wget2 with the system. Whatever is not
there is said not to have been measured.

One core is the crawler's, another is the server's. What is compared runs in turn, so that both sides see the same
machine, and ratios are taken pair by pair; CPU seconds come first, since wall seconds depend on who else is there.
Before any figure counts, both sides must have fetched the same pages and written the same records.
"""
