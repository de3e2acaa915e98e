"""Threads that wait sleep soon in the tests, too, which run side by side. Imported before torch:
OpenMP reads these variables once, when torch is loaded."""

import os

from shared.cli import BRIEF

for name, value in BRIEF.items():
    os.environ.setdefault(name, value)
