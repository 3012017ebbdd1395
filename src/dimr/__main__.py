"""``python -m dimr``."""

import sys

from dimr.cli import main

sys.exit(main())
