"""`python -m rankadaptor` does what the command `rankadaptor` does."""

import sys

from rankadaptor.cli import main

if __name__ == "__main__":
    sys.exit(main())
