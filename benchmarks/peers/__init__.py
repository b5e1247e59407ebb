"""The same job as others' users write it: each page below the start page's folder, one JSON line {url, title} a page.

Each takes START OUT, prints ``{"lag_ms": …}`` at its end, and needs what ``pip install .[bench]`` brings.
"""
