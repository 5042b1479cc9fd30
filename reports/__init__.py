"""What shows: a run as HTML page, tables, figures and gallery, from its folder alone; and the maps of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from camfaith.benchmark.results.explanation import Explanation
    from camfaith.benchmark.results.store import Result

__all__ = ["report", "side_by_side", "training_report"]


def report(run: str | Path | Result, *, out: str | Path | None = None) -> Path:
    """Write `report.html`, `tables/`, `figures/` and `gallery/` for a run (its folder, or the result in hand) under
    `out` (default: `report` in the run's folder); returns the path of the HTML page.

    Reads stored results only. A run that was stopped, failed or kept no maps gets a report that says so. Raises
    `RunFolderError` where there is no run.
    """
    # Pandas and matplotlib take a second to import; `camfaith --help` must not wait for them.
    from camfaith.benchmark.results.files import own_folder
    from camfaith.benchmark.results.store import load
    from camfaith.reports import page, tables
    from camfaith.reports.figures import draw
    from camfaith.reports.gallery import hang
    from camfaith.reports.view import View

    view = View(load(run) if isinstance(run, str | Path) else run)
    folder = Path(out) if out is not None else view.result.path / "report"
    own_folder(folder)
    written = tables.write(view, folder / "tables")
    drawings = draw(view, folder / "figures")
    walls = hang(view, folder / "gallery")
    return page.write(view, folder / "report.html", written, drawings, walls)


def side_by_side(explanation: Explanation) -> Figure:
    """Draw what `camfaith.benchmark.explain` found on one page: rows of maps for each class, with names, probabilities
    and the scale of the colours. The matplotlib figure opens no window; its `savefig` writes PNG, PDF and SVG."""
    from camfaith.reports.panels import draw

    return draw(explanation)


def training_report(folder: str | Path) -> Path:
    """Write `report.html`, `tables/` and `figures/` for a trained network into its folder; returns the path of the HTML
    page.

    Reads the folder's `model.json`, `history.csv` and `evaluation.json`. Raises `FileNotFoundError` where one is
    missing, `ValueError` where it cannot be read.
    """
    from camfaith.reports.training import write

    return write(Path(folder))
