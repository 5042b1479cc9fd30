"""Writes a page of reference: `python -m camfaith.benchmark.cli.pages NAME > docs/NAME.md`."""

from __future__ import annotations

import sys

from camfaith.benchmark.cli import methods_page, metrics_page, presets_page, suite_page

PAGES = {
    "methods": methods_page.page,
    "metrics": metrics_page.page,
    "presets": presets_page.page,
    "suite": suite_page.page,
}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
