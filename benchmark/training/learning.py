"""A network learns, by Lightning. The folder knows after each epoch how to go on: a training that is killed ends, when
it is started again, in the weights that it would have had, bit for bit.

For that nothing is remembered that is not in the checkpoint of the last whole epoch: the network, Adam's moments and
the history of epochs. The schedule, the patience and the best epoch follow from the history, and what is random from
the seed, the epoch and the batch (`randomness`). Lightning itself would step a plateau schedule after the checkpoint of
its epoch is written, and forget that a training has stopped early.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa, MulticlassRecall

from camfaith.benchmark.results.files import whole, write_whole
from camfaith.benchmark.training.keeping import BEST, HISTORY, LAST
from camfaith.benchmark.training.pictures import Pictures
from camfaith.benchmark.training.randomness import batches, chances_for, class_weights, key
from camfaith.benchmark.training.recipe import Recipe, best_epoch, is_over
from camfaith.models import Classifier


class Part(Dataset[tuple[Tensor, Tensor]]):
    """Some of the pictures; an index is a list of rows, and gives a batch."""

    def __init__(self, pictures: Pictures, rows: NDArray[np.int64]) -> None:
        self._pixels, self._rows, self.labels = pictures.pixels, rows, pictures.labels[rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._pixels[self._rows[rows]]), torch.from_numpy(self.labels[rows])

    def in_order(self, batch: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """All of them, batch by batch."""
        places = np.array_split(np.arange(len(self)), math.ceil(len(self) / batch))
        return DataLoader(self, batch_size=None, sampler=[rows.tolist() for rows in places])


class Learner(LightningModule):
    """The classifier that learns; `folder` gets its best weights, its last checkpoint and its history."""

    def __init__(
        self, classifier: Classifier, train: Part, val: Part, recipe: Recipe, folder: Path, tell: Callable[..., None]
    ) -> None:
        super().__init__()
        self.classifier, self.history = classifier, list[dict[str, float]]()
        self._train, self._val, self._recipe, self._folder, self._tell = train, val, recipe, folder, tell
        classes = len(classifier.class_names or ())
        balanced = class_weights(train.labels, classes)
        self._counts: Tensor
        self.register_buffer("_counts", torch.ones(classes) if recipe.balance == "none" else balanced, False)
        self._loss, self._val_loss = MeanMetric(), MeanMetric()
        self._judged = MetricCollection(
            {
                "val_accuracy": MulticlassAccuracy(classes, average="micro"),
                "val_balanced_accuracy": MulticlassRecall(classes, average="macro"),
                "val_kappa": MulticlassCohenKappa(classes, weights="quadratic"),
            }
        )

    @property
    def _epoch(self) -> int:
        """From 0. Lightning's own number lags behind while it takes up a checkpoint."""
        return len(self.history)

    def configure_optimizers(self) -> Optimizer:
        optimiser = Adam(self.classifier.parameters(), self._recipe.rate)
        self._plateau = ReduceLROnPlateau(optimiser, factor=0.3, patience=1)
        for row in self.history:
            self._plateau.step(row["val_loss"])
        return optimiser

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        told = self._recipe
        drawn = batches(self._train.labels, told.batch, told.seed, self._epoch, balanced=told.balance == "sampler")
        return DataLoader(self._train, batch_size=None, sampler=drawn)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._val.in_order(self._recipe.batch)

    def on_train_start(self) -> None:
        self.trainer.should_stop = is_over(self.history, self._recipe)

    def on_train_epoch_start(self) -> None:
        self._started = time.monotonic()
        self._loss.reset()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        pixels, labels = batch
        torch.manual_seed(key(self._recipe.seed, self._epoch, index))  # for dropout, too
        chances = torch.rand(len(pixels), chances_for(pixels.shape[1])).to(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):  # places in a picture need more than half precision
            images = self._recipe.augmentation(pixels / 255, chances)
        weights = None if self._recipe.balance == "sampler" else self._counts
        loss = F.nll_loss(self._log_probabilities(images), labels, weights)
        self._loss.update(loss.detach(), len(labels))
        self._say(index, len(pixels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        pixels, labels = batch
        logs = self._log_probabilities(pixels / 255)
        self._val_loss.update(F.nll_loss(logs, labels, reduction="none"), self._counts[labels])
        self._judged.update(logs.exp(), labels)

    def _log_probabilities(self, images: Tensor) -> Tensor:
        """In single precision from the network's outputs on."""
        ours = self.classifier
        outputs = ours.outputs(ours.network(ours.normalised(images))).float()
        return ours.head.log_probabilities(ours.head.scores(outputs, ours.name))

    def on_train_epoch_end(self) -> None:
        """Its validation is over by now."""
        row = {"epoch": self._epoch + 1, "train_loss": float(self._loss.compute())}
        row |= {"val_loss": float(self._val_loss.compute())}
        row |= {name: float(value) for name, value in self._judged.compute().items()}
        row |= {"rate": self._plateau.optimizer.param_groups[0]["lr"], "seconds": time.monotonic() - self._started}
        self._val_loss.reset()
        self._judged.reset()
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise ValueError(
                f"the loss is no finite number in epoch {row['epoch']}: learn with a lower rate than "
                f"{self._recipe.rate:g}, in another folder"
            )
        self.history.append(row)
        self._plateau.step(row["val_loss"])
        if best_epoch(self.history) == len(self.history) - 1:
            state = self.classifier.network.state_dict()
            apart = {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
            write_whole(self._folder / BEST, save(apart))
        self.trainer.save_checkpoint(self._folder / LAST)
        write_whole(self._folder / HISTORY, pd.DataFrame(self.history).to_csv(index=False, lineterminator="\n"))
        self.trainer.should_stop = is_over(self.history, self._recipe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def _say(self, index: int, images: int) -> None:
        epochs, size = self._recipe.epochs, len(self._train)
        done = self._epoch * size + min((index + 1) * images, size)
        best = f", best {best_epoch(self.history) + 1}" if self.history else ""
        self._tell(done, epochs * size, f"epoch {self._epoch + 1} of {epochs}{best}")


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, and read without running code that they may hold."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        with whole(path) as draft:
            torch.save(checkpoint, draft)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        try:
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch raise almost anything
            raise ValueError(
                f"{path} is damaged ({type(error).__name__}): restore it, give another folder as out, or overwrite it"
            ) from error
        return found


def learn(
    classifier: Classifier, train: Part, val: Part, recipe: Recipe, folder: Path, device: str, tell: Callable[..., None]
) -> list[dict[str, float]]:
    """Train the classifier, from the folder's last checkpoint where it has one; the history of all epochs.

    The folder has the best weights then, and `classifier` the last. On a GPU half precision is mixed in, and algorithms
    that give the same bits each time are taken where there are some.
    """
    gpu = device == "cuda"
    learner = Learner(classifier.train(), train, val, recipe, folder, tell)
    half = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "16-mixed"
    with _left_as_it_was(gpu):
        trainer = Trainer(
            accelerator="gpu" if gpu else "cpu",
            devices=1,
            precision=half if gpu else "32-true",  # type: ignore[arg-type]
            deterministic="warn" if gpu else None,
            max_epochs=recipe.epochs,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            plugins=[WholeFiles()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        last = folder / LAST
        trainer.fit(learner, ckpt_path=last if last.is_file() else None)
    return learner.history


@contextmanager
def _left_as_it_was(gpu: bool) -> Iterator[None]:
    """What Lightning changes of the process is undone, its log says errors alone, and Ctrl-C remains what it is."""
    log = logging.getLogger("pytorch_lightning")
    level, benchmark = log.level, torch.backends.cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace, interrupt = os.environ.get("CUBLAS_WORKSPACE_CONFIG"), signal.getsignal(signal.SIGINT)
    log.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if gpu else []), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torchmetrics)\b")
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    except SystemExit as stopped:
        if isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        log.setLevel(level)
        torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)
