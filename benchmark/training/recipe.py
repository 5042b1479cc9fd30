"""How a network is trained unless something else is said: as in the two studies of the eye and of the skin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge

from camfaith.benchmark.training.randomness import Augmentation, Balance
from camfaith.models.settings import Count, Positive, Seed, settle_fields

Row = Mapping[Any, float]
"""An epoch of a history: a column of `history.csv` each."""
EPOCHS = {"ham10000": 10, "skin": 10}
"""At most so many passes, by data set; 20 for any other."""
_ROUND = Augmentation(turn=180, upside_down=True)
AUGMENTATIONS = dict.fromkeys(("aptos2019", "fundus", "ham10000", "skin"), _ROUND)
"""By data set: eyes and skin have no upright side. Pictures of any other are turned a little, and not upside down."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training is told beside its network and its pictures."""

    epochs: Count = 20
    patience: Count = 3
    """It ends when so many epochs in a row have not lowered the loss on the validation part."""
    batch: Annotated[int, Ge(3)] = 32
    rate: Positive = 1e-3
    """Adam's learning rate at first; it falls to 0.3 of itself whenever two epochs in a row have lowered nothing."""
    balance: Balance = "weights"
    """`weights`: each class counts alike in the loss. `sampler`: it does so in what is drawn. `none`: neither."""
    seed: Seed = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        settle_fields(self)


def recipe_for(dataset: str, **said: object) -> Recipe:
    """The recipe for the data set of that name, with what is said of it; None says nothing."""
    known = {"epochs": EPOCHS.get(dataset, 20), "augmentation": AUGMENTATIONS.get(dataset, Augmentation())}
    return Recipe(**known | {name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]


def best_epoch(history: Sequence[Row]) -> int:
    """The place of the first epoch with the lowest loss on the validation part."""
    return min(range(len(history)), key=lambda place: history[place]["val_loss"])


def is_over(history: Sequence[Row], recipe: Recipe) -> bool:
    """Whether all epochs are done, or as many as `patience` says have not lowered the validation loss."""
    over = len(history) >= recipe.epochs
    return bool(history) and (over or len(history) - 1 - best_epoch(history) >= recipe.patience)
