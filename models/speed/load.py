"""How busy the machine is."""

from __future__ import annotations

import os


def overload() -> str:
    """A sentence where more wanted the processor in the last minute than it has cores, else an empty one."""
    cores, wanting = os.cpu_count() or 1, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if wanting <= cores:
        return ""
    return (
        f"the machine is busy: {wanting:.1f} tasks want its {cores} cores, so that measured speeds, and how long this "
        "will take, say little"
    )
