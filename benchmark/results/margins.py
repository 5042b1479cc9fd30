"""Margins: the greatest loss that passes, as an absolute number or as a share of what there is to win."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT = "5%"
KEPT = 0.5
"""A share never lets pass what has lost more than this of the base's own lead over the random control."""


@dataclass(frozen=True)
class Margin:
    """`size` itself, or with `share` that part of the distance from the random control to the best known map."""

    size: float
    share: bool

    @classmethod
    def of(cls, given: str | float) -> Margin:
        """A number ("0.02") or a share ("5%"); `ValueError` for what is none, for 0 or less, and for 100 % or more."""
        text = str(given).strip()
        share = text.endswith("%")
        try:
            size = float(text.removesuffix("%")) / (100 if share else 1)
        except ValueError:
            raise ValueError(f"a margin is a number (0.02) or a share (5%); got {text!r}") from None
        if not math.isfinite(size) or size <= 0:
            raise ValueError(
                f"a margin must be greater than 0, got {text!r}: nothing can be shown to be exactly equal by samples; "
                "use --exact to ask for equal values"
            )
        if share and size >= 1:
            raise ValueError(f"a share must be less than 100%, got {text!r}: what is no better than random would pass")
        return cls(size, share)

    def __str__(self) -> str:
        return f"{100 * self.size:g} %" if self.share else f"{self.size:g}"


@dataclass(frozen=True)
class Margins:
    """A margin for every metric that has none of its own, those that have, by "metric" or "metric:column", and by how
    many times the calls of the network may rise."""

    default: Margin = field(default_factory=lambda: Margin.of(DEFAULT))
    own: Mapping[str, Margin] = field(default_factory=dict)
    calls: float = 1.0

    @classmethod
    def of(cls, default: str | float = DEFAULT, own: Mapping[str, str | float] | None = None) -> Margins:
        """From text or numbers: `Margins.of("5%", {"deletion": 0.02, "calls": 2})`. `ValueError` as `Margin.of`."""
        named = dict(own or {})
        calls = str(named.pop("calls", 1))
        try:
            times = float(calls)
        except ValueError:
            times = math.nan
        if not 1 <= times < math.inf:
            raise ValueError(f"the margin of calls says to how many times they may rise (2, at least 1); got {calls!r}")
        return cls(Margin.of(default), {name: Margin.of(given) for name, given in named.items()}, times)

    @classmethod
    def read(cls, given: Sequence[str]) -> Margins:
        """From the command line's words: "5%", "0.02", "deletion=0.02", "calls=2"."""
        own = {name: size for name, equals, size in (word.rpartition("=") for word in given) if equals}
        plain = [word for word in given if "=" not in word]
        if len(plain) > 1:
            raise ValueError(f"{len(plain)} margins without a metric ({', '.join(plain)}): say one, or metric=margin")
        return cls.of(plain[0] if plain else DEFAULT, own)

    def __str__(self) -> str:
        of = " of the distance from the random control to the best known map, at most half of the base's own lead"
        own = [f"{name} {margin}" for name, margin in self.own.items()]
        return "; ".join([f"{self.default}{of if self.default.share else ''}", *own])

    def for_column(self, metric: str, column: str) -> Margin:
        return self.own.get(f"{metric}:{column}", self.own.get(metric, self.default))
