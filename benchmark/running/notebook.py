"""A bar that shows how far a run is, in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable


def bar() -> Callable[[int, int, str], None] | None:
    """What `run` takes as its `progress`: a bar below the notebook's cell; None outside a notebook."""
    asked = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(asked, "kernel"):
        return None
    from tqdm.auto import tqdm

    shown = tqdm(unit=" forwards")

    def tell(done: int, total: int, what: str) -> None:
        shown.total = total
        shown.set_description(what, refresh=False)
        shown.update(done - shown.n)
        if done >= total:
            shown.close()

    return tell
