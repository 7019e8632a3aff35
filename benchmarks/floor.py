"""The speed floor as a script: ``python benchmarks/floor.py [--json FILE]`` is ``graphc bench``."""

import sys

from graphc.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
