"""Small networks in double precision, so that a formula can be checked to rounding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camfaith.models import Classifier
from camfaith.models.reference import MEAN, STD, WEIGHTS, build, load_weights


@pytest.fixture(scope="session")
def pgc() -> Any:
    """pytorch-grad-cam; a test that asks for it is skipped where it is not installed."""
    return pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed; pip install 'camfaith[peers]'")


@pytest.fixture(scope="session")
def logit_of(pgc: Any) -> Any:
    """What pytorch-grad-cam is told to explain: the logit of a class."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return ClassifierOutputTarget


@pytest.fixture(scope="session")
def torchcam() -> Any:
    """torchcam's methods; a test that asks for them is skipped where it is not installed."""
    return pytest.importorskip("torchcam.methods", reason="torchcam is not installed; pip install 'camfaith[peers]'")


def _unsettle(network: nn.Module) -> nn.Module:
    """Random batch-norm statistics and biases: a fresh network's zeros and ones would hide mistakes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0.0, 0.2)
    return network


@pytest.fixture(scope="session")
def reference() -> Callable[[str, str], Classifier]:
    """A shipped architecture by name with "random" or "shipped" weights, in double precision."""
    built: dict[tuple[str, str], Classifier] = {}

    def make(name: str, weights: str = "random") -> Classifier:
        if weights == "shipped" and not (WEIGHTS / f"{name}.safetensors").is_file():
            pytest.skip(f"the weights of {name} are not there")
        if (name, weights) not in built:
            with torch.random.fork_rng():
                torch.manual_seed(3)
                network = load_weights(name) if weights == "shipped" else _unsettle(build(name))
            built[name, weights] = Classifier(network.double().eval(), name=name, mean=MEAN, std=STD)
        return built[name, weights]

    return make


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Noise images that depend on their number and size alone."""

    def draw(count: int, height: int, width: int | None = None) -> Tensor:
        source = torch.Generator().manual_seed(11)
        return torch.rand(count, 3, height, width or height, generator=source, dtype=torch.float64)

    return draw


class LinearModel(nn.Module):
    """S = W·x + b over all pixels of an image of a fixed size."""

    def __init__(self, height: int, width: int, classes: int = 2) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(7)
        shape = (classes, 3, height, width)
        self.weight = nn.Parameter(torch.randn(shape, generator=source, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(classes, generator=source, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,nchw->bn", x, self.weight) + self.bias


@pytest.fixture
def linear_model() -> type[LinearModel]:
    return LinearModel


@pytest.fixture
def evidence(reference: Callable[..., Classifier], images: Callable[..., Tensor]) -> Callable[[str, str], Any]:
    """Two small images of a shipped network with random weights, each asked about a class of its own."""

    def of(name: str, layer: str) -> Any:
        classifier = reference(name)
        side = 96 if name == "fundus-vgg" else 32
        seeds = torch.tensor([3, 4])
        return classifier, classifier.evidence(images(2, side), [1, 3], [layer], gradients=False, seeds=seeds)

    return of
