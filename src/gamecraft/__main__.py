"""``python -m gamecraft`` is the ``gamecraft`` command."""

import sys

from gamecraft.cli import main

sys.exit(main())
