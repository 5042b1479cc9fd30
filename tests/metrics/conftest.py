"""Small networks in double precision, noise images, and the order of pixels written straight from its definition."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor, nn

from camfaith.metrics import Case, Engine, Line, Maps, Metric
from camfaith.metrics.judgement import judged
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Noise images that depend on their number, size and seed alone."""

    def draw(count: int, height: int, width: int | None = None, seed: int = 11) -> Tensor:
        source = torch.Generator().manual_seed(seed)
        return torch.rand(count, 3, height, width or height, generator=source, dtype=torch.float64)

    return draw


@pytest.fixture
def noise_maps() -> Callable[..., Tensor]:
    """Signed maps; `levels` leaves so many distinct values, and with them ties."""

    def draw(count: int, height: int, width: int, *, levels: int | None = None, seed: int = 23) -> Tensor:
        source = torch.Generator().manual_seed(seed)
        maps = torch.randn(count, height, width, generator=source, dtype=torch.float64)
        return maps if levels is None else (maps * levels / 4).round()

    return draw


@pytest.fixture
def classifier(tiny) -> Classifier:
    """The tiny network with its normalisation inside."""
    return Classifier(tiny, mean=MEAN, std=STD)


@pytest.fixture
def case(classifier, images) -> Case:
    """Four noise images of 9×9 pixels, with a class and a seed each."""
    return Case.of(classifier, images(4, 9), [0, 1, 2, 1], seeds=torch.tensor([7, 8, 9, 10]))


class Shows:
    """A method that shows a function of the images."""

    needs_layer = needs_gradients = False

    def __init__(self, shown: Callable[[Tensor], Tensor]) -> None:
        self.shown = shown

    def explain(self, evidence, classifier) -> Tensor:
        return self.shown(evidence.images)


@pytest.fixture
def showing() -> type[Shows]:
    return Shows


@pytest.fixture
def brightness() -> Shows:
    """A method that shows the sum of each pixel's colours: its map moves and turns with the image."""
    return Shows(lambda images: images.sum(1))


class PixelSum(nn.Module):
    """Logits 0 and Σ_p w_p · (sum of the colours of pixel p) + bias: w (H×W) is each pixel's worth."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.to(torch.float64))
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        score = (x.sum(1) * self.weight).sum((1, 2)) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def pixel_sum() -> type[PixelSum]:
    return PixelSum


@pytest.fixture
def slow_score() -> Callable[[nn.Module, Tensor, int, str], float]:
    """The target's score on one image, by one forward of it alone."""

    def score(model: nn.Module, image: Tensor, target: int, kind: str) -> float:
        with torch.no_grad():
            logits = model(image[None])[0]
        return float(logits[target] if kind == "logit" else logits.exp()[target] / logits.exp().sum())

    return score


@pytest.fixture
def slow_order() -> Callable[[Tensor, int], list[int]]:
    """The pixels of one map, most relevant first; equal ones in the order of a lottery drawn from the seed."""

    def order(saliency: Tensor, seed: int) -> list[int]:
        values = saliency.flatten().tolist()
        lottery = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed)).tolist()
        return sorted(range(len(values)), key=lambda pixel: (-values[pixel], lottery.index(pixel)))

    return order


@pytest.fixture
def slow_points(slow_score) -> Callable[..., list[float]]:
    """The score with the first so many pixels of an order at the blank, one altered image and one forward at a time."""

    def points(model, image, blank, target, order, counts, kind) -> list[float]:
        found = []
        for count in counts:
            altered = image.clone()
            for pixel in order[:count]:
                row, column = divmod(pixel, image.shape[-1])
                altered[:, row, column] = blank[:, row, column]
            found.append(slow_score(model, altered, target, kind))
        return found

    return points


STEPS = (-1, 0, 1)
NEIGHBOURS = {(i, j): 1 / 6 if i == 0 or j == 0 else 1 / 12 for i in STEPS for j in STEPS if i or j}


@pytest.fixture
def slow_imputed() -> Callable[[Tensor, Tensor], Tensor]:
    """Each removed pixel is the weighted mean of the neighbours it has (Rong et al. 2022): one sparse system."""

    def solved(image: Tensor, removed: Tensor) -> Tensor:
        colours, height, width = image.shape
        unknown = {pixel: row for row, pixel in enumerate(map(tuple, removed.nonzero().tolist()))}
        known = image.double().numpy()
        entries, right = [], np.zeros((len(unknown), colours))
        for (y, x), row in unknown.items():
            around = {(y + i, x + j): w for (i, j), w in NEIGHBOURS.items()}
            inside = {(y, x): w for (y, x), w in around.items() if 0 <= y < height and 0 <= x < width}
            entries.append((1.0, row, row))
            for pixel, weight in inside.items():
                share = weight / sum(inside.values())
                if pixel in unknown:
                    entries.append((-share, row, unknown[pixel]))
                else:
                    right[row] += share * known[:, pixel[0], pixel[1]]
        values, rows, columns = zip(*entries, strict=True)
        solution = spsolve(coo_matrix((values, (rows, columns)), shape=(len(unknown),) * 2).tocsc(), right)
        result = image.double().clone()
        result[:, removed] = torch.from_numpy(solution.reshape(right.shape).T)
        return result

    return solved


@pytest.fixture
def climbing(pixel_sum) -> tuple[PixelSum, Tensor, Tensor]:
    """A model of 12 pixels in which pixel p of a grey image is worth p + 1, that image, and the map that says so."""
    worth = torch.arange(1.0, 13, dtype=torch.float64).view(3, 4)
    return pixel_sum(worth / 1.5), torch.full((1, 3, 3, 4), 0.5, dtype=torch.float64), worth[None]


@pytest.fixture
def worked_out() -> Callable[..., tuple[Line | None, dict[str, Tensor]]]:
    """A metric's curve and columns, by the engine; `reading` says how its maps are read (`rectified=True`)."""

    def work(metric: Metric, model, images, targets, maps, *, seeds=None, batch_size=64, **reading):
        classifier = Classifier.of(model)
        case = Case.of(classifier, images, targets, seeds=seeds)
        given = Maps(maps, case, **reading)
        asked = {"it": (given, metric.probes(None, case.pixels))}
        answers = Engine(classifier, Setup(batch_size)).answer(case, asked)["it"]
        columns, line = judged(metric, case, given, answers)
        return line, columns

    return work


@pytest.fixture
def watched() -> Callable[[nn.Module], list[Tensor]]:
    """A list that every batch the network is given from now on is added to."""

    def watch(network: nn.Module) -> list[Tensor]:
        seen: list[Tensor] = []
        network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
        return seen

    return watch
