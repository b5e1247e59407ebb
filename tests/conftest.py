"""What holds for all tests."""

import os

# A test's small crawls, those in processes of their own included, do not wait for room on the disk that tests run on.
os.environ.setdefault("CRAWLER_MIN_FREE_SPACE", "0")
