"""Images in, scores out: normalisation, geometry, targets, and networks that take images their own way."""

import copy
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from camfaith.models import Classifier


class Means(nn.Module):
    """Three logits: the mean of each colour."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def photograph(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_what_is_mapped_over_images_is_normalised_as_they_are():
    classifier = Classifier(Means(), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.5))
    images = torch.rand(2, 4, 3, 5, 6)
    expected = torch.stack([classifier(each) for each in images])
    torch.testing.assert_close(torch.func.vmap(classifier)(images), expected)
    torch.testing.assert_close(torch.func.vmap(classifier, in_dims=1, out_dims=1)(images), expected)


def test_nothing_of_a_transform_stays_in_a_classifier():
    classifier = Classifier(Means(), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.5))
    images = torch.rand(4, 3, 5, 6)
    torch.func.vmap(torch.func.grad(lambda image: classifier(image[None]).sum()))(images)
    torch.testing.assert_close(copy.deepcopy(classifier)(images), classifier(images))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            "floating-point.*got a torch.uint8 tensor; use classifier.prepare",
        ),
        (np.zeros((1, 3, 4, 4), dtype=np.uint8), "got a torch.uint8 tensor"),
        (np.zeros((1, 4, 4, 3)), "got 4; the colours come first"),
        ("picture.png", "images: expected a tensor, a numpy array or lists of numbers, got a str"),
        (torch.zeros(4, 4), "B×3×H×W, got 4×4"),
        (torch.zeros(2, 1, 4, 4), "3 colours as in `mean`, got 1"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        Classifier(Means(), mean=(0.5,) * 3, std=(0.5,) * 3).scores(images)


@pytest.mark.parametrize("array", [np.asarray, Tensor.tolist, list, lambda images: images.numpy().astype(">f4")])
def test_images_may_be_arrays_and_lists(array):
    images = torch.rand(2, 3, 4, 5)
    assert torch.equal(Classifier(Means()).scores(array(images)), images.mean((2, 3)))
    backwards = images.numpy()[..., ::-1]  # which torch cannot share
    torch.testing.assert_close(Classifier(Means()).scores(backwards), images.mean((2, 3)))


@pytest.mark.parametrize("images", [torch.rand(1, 3, 4, 4) * 255, torch.rand(1, 3, 4, 4) * 4 - 2])
def test_images_that_were_scaled_or_normalised_before_are_refused(images):
    classifier = Classifier(Means(), mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\], got values from .*before its normalisation"):
        classifier.given(images)
    assert Classifier(Means()).given(images) is not None
    assert classifier.given(torch.rand(1, 3, 4, 4) * 1.2 - 0.1) is not None, "noise may leave [0, 1] a little"


CONVOLUTION = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    "grey",
    [
        Classifier(Means(), mean=(0.5,), std=(0.2,)),
        Classifier(CONVOLUTION),
        Classifier(torch.jit.script(CONVOLUTION)),
    ],
    ids=["mean", "convolution", "scripted"],
)
def test_a_network_that_takes_grey_gets_pictures_in_grey(grey):
    picture = photograph(8, 6)
    assert torch.equal(grey.prepare(picture), F.to_dtype(F.pil_to_tensor(picture.convert("L")), scale=True))
    assert torch.equal(grey.prepare(picture.convert("L")), grey.prepare(picture))
    with pytest.raises(ValueError, match="takes images of 4 channels, as `mean` says; a picture has 3"):
        Classifier(Means(), mean=(0.5,) * 4, std=(0.2,) * 4).prepare(picture)


def test_not_a_number_is_found_in_every_batch_and_not_in_the_first_alone():
    classifier = Classifier(Means())
    classifier.scores(torch.rand(2, 3, 4, 4))
    with pytest.raises(FloatingPointError):
        classifier.scores(torch.full((1, 3, 4, 4), torch.nan))


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (500, 260)])
def test_a_mask_follows_the_geometry_of_its_picture(size):
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] = 255
    classifier = Classifier(Means(), resize=256, crop=224)
    mask = classifier.prepare_mask(Image.fromarray(pixels))
    picture = classifier.prepare(Image.fromarray(pixels))
    assert mask.dtype == torch.bool
    assert mask.shape == (224, 224)
    assert ((picture[0] > 0.5) != mask).float().mean() < 0.01  # a line of pixels at the edges
    assert torch.equal(classifier.prepare_mask(Image.fromarray(pixels).convert("1")), mask)


LOGITS = torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]])


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (None, [1, 0]),
        (2, [2, 2]),
        (np.int64(2), [2, 2]),
        ([0, 2], [0, 2]),
        ((0, 2), [0, 2]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([2, 1], dtype=torch.uint8), [2, 1]),
        (torch.tensor(1), [1, 1]),
        (np.array([2, 0]), [2, 0]),
        (lambda logits: logits.argmin(1), [0, 2]),
        (lambda _logits: [1, 2], [1, 2]),
    ],
)
def test_targets_come_in_many_forms(targets, expected):
    chosen = Classifier(Means()).targets(targets, LOGITS)
    assert chosen.tolist() == expected
    assert chosen.dtype == torch.long


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (3, "out of range: expected 0 to 2"),
        (-1, "out of range"),
        ([0, 7], "out of range"),
        ([0], "one class index for each of 2 images"),
        ([0, 1, 2], "one class index"),
        (torch.tensor([0.0, 1.0]), "one class index.*got torch.float32"),
        (torch.tensor([True, False]), "one class index.*got torch.bool"),
        (torch.zeros(2, 3, dtype=torch.long), "one class index"),
        (lambda logits: logits, "one class index.*from function"),
        (
            [types.SimpleNamespace(category=2)] * 2,
            "expected class indices, got SimpleNamespace: give the index itself, 2",
        ),
        ([[1], [1, 2]], "expected class indices, got list: give the index itself"),
        ("cat", "expected a class index, got 'cat'; class_names.index"),
    ],
)
def test_targets_that_name_no_class_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        Classifier(Means()).targets(targets, LOGITS)


def test_a_plain_network_becomes_a_classifier_and_a_classifier_stays_itself():
    classifier = Classifier(Means(), name="means")
    assert Classifier.of(classifier) is classifier
    assert Classifier.of(Means()).name == "Means"
    with pytest.raises(TypeError, match="got str"):
        Classifier.of("resnet18")
    with pytest.raises(ValueError, match="go together"):
        Classifier(Means(), mean=(0.5, 0.5, 0.5))


def test_scores_carry_no_graph_and_follow_the_precision_of_the_network():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).double()
    found = Classifier(network).scores(torch.rand(2, 3, 4, 4))
    assert found.dtype == torch.float64
    assert not found.requires_grad


def test_scores_and_gradients_take_turns(tiny):
    model = Classifier(tiny, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    scores = model.scores(images)
    asked = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(asked)[:, 0].sum(), asked)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    plain = images.clone().requires_grad_()
    expected = tiny((plain - mean) / std)
    assert torch.equal(scores, expected.detach())
    assert torch.equal(gradient, torch.autograd.grad(expected[:, 0].sum(), plain)[0])


class Viewing(nn.Module):
    """Flattens with `view`, as many networks do, which takes no activations with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4 * 6 * 6, 3)
        self.tried = 0

    def forward(self, images: Tensor) -> Tensor:
        self.tried += 1
        found = self.features(images)
        return self.head(found.view(len(found), -1))


def test_a_network_that_flattens_by_view_gets_its_images_as_it_can_take_them():
    network, images = Viewing(), torch.rand(2, 3, 6, 6)
    last = images.contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        network(last)
    classifier, network.tried = Classifier(network), 0
    for _ in range(3):
        torch.testing.assert_close(classifier.scores(last), network(images))
    assert network.tried == 3 + 3 + 1, "one try too many, and never again"


@pytest.mark.filterwarnings("error")
def test_evidence_of_such_a_network_is_of_one_forward():
    images = torch.rand(2, 3, 6, 6)
    found = Classifier(network := Viewing()).evidence(
        images.contiguous(memory_format=torch.channels_last), 1, ["features.0"]
    )
    expected = Classifier(network).evidence(images, 1, ["features.0"])
    torch.testing.assert_close(found.activations["features.0"], expected.activations["features.0"])
    torch.testing.assert_close(found.gradients["features.0"], expected.gradients["features.0"])


def test_other_errors_of_a_network_are_its_own():
    with pytest.raises(RuntimeError, match="expected input"):
        Classifier(Viewing()).scores(torch.rand(2, 4, 6, 6).contiguous(memory_format=torch.channels_last))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Classifier(Viewing()).scores(torch.rand(2, 3, 9, 6).contiguous(memory_format=torch.channels_last))


class Centring(nn.Module):
    """Writes into what it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.sub_(0.5))
        return out


def test_a_network_that_writes_into_its_input_changes_nobodys_images(tiny):
    pictures = torch.rand(2, 3, 15, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    classifier, kept = Classifier(Centring(tiny)), pictures.clone()
    expected = Classifier(tiny).evidence(kept - 0.5, 1, ["conv2"])
    torch.testing.assert_close(classifier.scores(pictures), expected.logits)
    found = classifier.evidence(pictures, 1, ["network.conv2"])
    assert torch.equal(pictures, kept)
    assert torch.equal(found.images, kept)
    torch.testing.assert_close(found.gradients["network.conv2"], expected.gradients["conv2"])
    leaf = pictures.requires_grad_()
    classifier(leaf).sum().backward()
    assert leaf.grad is not None


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda c: setattr(c, "mean", None), ["mean"]),
        (lambda c: setattr(c, "network", nn.Identity()), ["network"]),
        (lambda c: vars(c).clear(), ["head", "mean"]),
        (lambda c: c.scores(torch.rand(1, 3, 9, 9, dtype=torch.float64)), []),
    ],
)
def test_what_somebody_exchanges_of_a_classifier_is_put_back_and_told(tiny, harm, told):
    classifier, images = Classifier(tiny, mean=(0.5,) * 3, std=(0.2,) * 3), torch.rand(1, 3, 9, 9)
    before = classifier.scores(images)
    with classifier.kept() as said:
        harm(classifier)
    assert torch.equal(classifier.scores(images), before)
    assert {f"the classifier's {name} was changed" for name in told} <= set(said)
    assert bool(said) == bool(told)
