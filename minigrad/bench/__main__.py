"""``python -m minigrad.bench``: the same as ``python -m minigrad bench``."""

import sys

from minigrad.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
