"""Entry point of `python -m robosac`."""

import sys

from robosac.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
