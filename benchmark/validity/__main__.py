"""Writes the table that ships: `python -m camfaith.benchmark.validity > new.csv`."""

from __future__ import annotations

import sys
import time

from camfaith.benchmark.validity.examining import examined
from camfaith.benchmark.validity.table import text_of

if __name__ == "__main__":
    began = time.perf_counter()
    told = examined(tell=lambda name: print(f"{time.perf_counter() - began:5.0f} s  {name}", file=sys.stderr))
    sys.stdout.write(text_of(told))
