"""Corner causes on networks whose corners have a known cause, and against the interventions written out."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods import GradCAM, XGradCAM
from camfaith.metrics import Case, CornerArtifact, CornerCauses, Engine, Maps
from camfaith.metrics.causes import box_inside
from camfaith.models import Classifier, load
from camfaith.models.contract import Bound
from camfaith.models.speed.setup import Setup

SIDE = 12
CORNERS = torch.zeros(SIDE, SIDE, dtype=torch.bool)
for rows in (slice(0, 2), slice(10, 12)):
    for columns in (slice(0, 2), slice(10, 12)):
        CORNERS[rows, columns] = True
AREA = 16 / 144


class Reads(nn.Module):
    """`layer` makes one channel of the image; the logits are 0 and the channel's mean."""

    def __init__(self, layer: nn.Module, gain: float = 3.0) -> None:
        super().__init__()
        self.layer, self.gain = layer.double(), gain

    def forward(self, x: Tensor) -> Tensor:
        score = self.gain * self.layer(x).mean((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


class Map(nn.Module):
    """A function of the image as a layer."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def causes(network, pictures, contents=None, kind=GradCAM, **settings):
    method = kind(network, "layer")
    return CornerCauses(**settings)(network, pictures, 1, method.raw(pictures, 1), contents=contents, method=method)


def disc(side: int = SIDE, radius: float = 5.5) -> Tensor:
    along = torch.arange(side) - (side - 1) / 2
    return along[:, None].square() + along.square() <= radius**2


def test_corners_that_padding_made_are_gone_with_it_and_with_nothing_else():
    """ReLU(10 − Σ of a constant 3×3 neighbourhood) is 1 inside, 4 along the border and 6 in the corners."""
    convolution = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.constant_(convolution.weight, -1.0)
    nn.init.constant_(convolution.bias, 10.0)
    network = Reads(nn.Sequential(convolution, nn.ReLU()))
    found = causes(network, torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64), disc()[None])
    padded = 4 * (6 + 4 + 4 + 1) / (4 * 6 + 40 * 4 + 100)
    expected = {"": padded, "_filled": padded, "_cropped": padded, "_reflect": AREA, "_replicate": AREA}
    assert {key: float(found[f"share{key}"]) for key in expected} == pytest.approx(expected)
    assert found["outside_reflect"].tolist() == pytest.approx([float((~disc()).double().mean())])
    assert found["outside"].tolist() == found["outside_filled"].tolist() != found["outside_reflect"].tolist()


def test_corners_of_a_channel_that_cancels_out_are_gone_without_it_and_with_no_intervention():
    """Red is 1 in the middle. Green − ½ is +0.5 in the corners and −0.0624 elsewhere: its sum of +0.0128 makes its
    weight large."""
    network = nn.Sequential()
    network.add_module("layer", nn.Conv2d(2, 2, 1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(2 * SIDE * SIDE, 2))
    with torch.no_grad():
        network.layer.weight.copy_(torch.eye(2)[..., None, None])
        network.layer.bias.copy_(torch.tensor([0.0, -0.5]))
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.weight[1] = torch.stack([torch.ones(SIDE, SIDE), CORNERS / 128]).flatten()
    network.double()
    pictures = torch.zeros(1, 2, SIDE, SIDE, dtype=torch.float64)
    pictures[:, 0, 4:8, 4:8] = 1
    pictures[:, 1] = 0.5 - 0.0624 + 0.5624 * CORNERS.double()
    weight = 16 * 0.5 / 128 / (16 * 0.5 - 128 * 0.0624)
    corner = weight * 0.5 * 16
    middle = 16 * (1 - weight * 0.0624)
    found = causes(network, pictures, kind=lambda *given: XGradCAM(*given, eps=0))
    for column in ("share", "share_reflect", "share_replicate"):
        assert found[column].tolist() == pytest.approx([corner / (corner + middle)])
    assert found["share"] > 0.7
    found = causes(network, pictures, kind=lambda *given: XGradCAM(*given, eps=0.01, channels="settled"))
    assert [float(found[f"share{key}"]) for key in ("", "_reflect")] == [0, 0]


def test_corners_that_the_network_reads_are_left_by_reflection_and_their_loss_is_felt():
    network = Reads(Map(lambda x: x[:, :1] * CORNERS + 0.01), gain=100)
    pictures = torch.where(CORNERS, 0.6, 0.2).expand(1, 3, -1, -1).double()
    found = causes(network, pictures)
    mass = {value: 16 * (value + 0.01) / (16 * (value + 0.01) + 128 * 0.01) for value in (0.6, 0.2)}
    felt = {value: 1 / (1 + math.exp(-100 * (16 * value / 144 + 0.01))) for value in (0.6, 0.2)}
    for key, value in (("", 0.6), ("_reflect", 0.6), ("_filled", 0.2)):
        assert float(found[f"share{key}"]) == pytest.approx(mass[value])
        assert float(found[f"probability{key}"]) == pytest.approx(felt[value])


def test_a_network_that_reads_the_black_around_the_field_shows_it_until_it_is_filled_or_cropped():
    network = Reads(Map(lambda x: F.relu(0.25 - x[:, :1]) + 0.01))
    contents = disc()[None]
    pictures = (torch.rand(1, 3, SIDE, SIDE).double() / 2 + 0.4) * contents
    found = causes(network, pictures, contents)
    outside = int((~disc()).sum())
    assert found["outside"].tolist() == pytest.approx([outside * 0.26 / (outside * 0.25 + 1.44)])
    assert found["outside_reflect"].tolist() == found["outside"].tolist()
    assert found["outside_filled"].tolist() == pytest.approx([outside / 144])
    assert found["share"] > 2 * AREA
    for column in ("share_filled", "share_cropped"):
        assert found[column].tolist() == pytest.approx([AREA])


def test_what_was_trained_to_read_a_corner_tag_keeps_it_but_for_the_filling():
    from camfaith.benchmark.datasets.synthetic import FundusTag

    classifier, samples = load("fundus-tag-resnet"), [FundusTag()[i] for i in range(2)]
    pictures = torch.stack([classifier.prepare(sample.image) for sample in samples])
    contents = torch.stack([classifier.prepare_mask(sample.content) for sample in samples])
    method = GradCAM(classifier, "layer2")
    targets = [sample.label for sample in samples]
    found = CornerCauses()(
        classifier, pictures, targets, method.raw(pictures, targets), contents=contents, method=method
    )
    assert (found["probability"] > 0.9).all()
    assert found["probability_reflect"].mean() > 0.9 > 0.5 > found["probability_filled"].mean()
    assert found["share_reflect"].mean() > 2 * found["share_filled"].mean()


def slow_share(cam: Tensor, zone: Tensor) -> float:
    grown = F.interpolate(cam.clamp(min=0)[None, None], size=zone.shape, mode="bilinear")[0, 0]
    return float(sum(grown[i, j] for i, j in zone.nonzero().tolist()) / grown.sum())


@pytest.mark.parametrize("masked", [True, False])
def test_every_column_is_what_its_definition_says(masked, tiny, images):
    pictures, targets, side = images(2, 20), [2, 0], 20
    contents = torch.stack([disc(20, 8.2), disc(20, 8.6).roll(-1, 1)])
    contents[0, 16:] = False  # as a camera cuts it off below
    contents[0, :4] = False
    mirroring, repeating = copy.deepcopy(tiny), copy.deepcopy(tiny)
    mirroring.conv1.padding_mode, repeating.conv1.padding_mode = "reflect", "replicate"
    method = GradCAM(tiny, "relu1")
    found = CornerCauses(cells=4)(
        tiny, pictures, targets, method.raw(pictures, targets), contents=contents if masked else None, method=method
    )
    corner = torch.zeros(side, side, dtype=torch.bool)
    for i in (*range(5), *range(15, 20)):
        for j in (*range(5), *range(15, 20)):
            corner[i, j] = True
    for place, picture in enumerate(pictures):
        content = contents[place] if masked else ~corner
        filled, cropped = picture.clone(), picture
        for channel in range(3):
            filled[channel, ~content] = sum(picture[channel, content].tolist()) / int(content.sum())
        if masked:
            rows, columns = box_inside(content)
            cropped = F.interpolate(picture[None, :, rows, columns], size=(20, 20), mode="bilinear")[0]
        for key, network, image in (
            ("", tiny, picture),
            ("_reflect", mirroring, picture),
            ("_replicate", repeating, picture),
            ("_filled", tiny, filled),
            ("_cropped", tiny, cropped),
        ):
            cam = GradCAM(network, "relu1").raw(image[None], targets[place])[0]
            expected = {
                "share": slow_share(cam, corner),
                "outside": slow_share(cam, ~content),
                "probability": float(network(image[None]).softmax(1)[0, targets[place]].detach()),
            }
            for name, value in expected.items():
                if f"{name}{key}" == "outside_cropped":
                    continue
                value = value if masked or (name != "outside" and key != "_cropped") else math.nan
                assert float(found[name + key][place]) == pytest.approx(value, abs=1e-12, nan_ok=True), name + key
    assert "outside_cropped" not in found


@pytest.mark.parametrize(
    ("content", "box"),
    [
        (torch.ones(10, 20), (0, 10, 0, 20)),
        (F.pad(torch.ones(4, 8), (3, 9, 2, 4)), (2, 6, 3, 11)),
        (F.pad(torch.ones(4, 18), (1, 1, 3, 3)), (3, 7, 5, 15)),
        (F.pad(torch.ones(2, 4), (8, 8, 4, 4)), None),  # a fifth of the plane
        (F.pad(-torch.ones(2, 2), (9, 9, 4, 4)) + 1, None),  # a hole in the middle
        (F.pad(torch.ones(1, 1), (0, 19, 0, 9)), None),
    ],
)
def test_the_box_has_the_planes_proportions_and_lies_inside(content, box):
    found = box_inside(content.bool())
    assert found == (box and (slice(*box[:2]), slice(*box[2:])))


def test_what_is_not_known_is_nan(tiny, images):
    class Nothing:
        needs_layer = needs_gradients = False

        def explain(self, evidence, classifier):
            return torch.zeros(len(evidence), 4, 4)

    contents = torch.stack([disc(18, 8), disc(18, 1), ~disc(18, 40)])
    method = GradCAM(tiny, "relu2")
    pictures = images(3, 18)
    found = CornerCauses()(tiny, pictures, 1, method.raw(pictures, 1), contents=contents, method=method)
    for column, value in found.items():
        known = [True, "cropped" not in column, "cropped" not in column and "outside" not in column]
        assert value.isfinite().tolist() == known, column
    found = CornerCauses()(tiny, pictures, 1, torch.zeros(3, 4, 4), contents=contents, method=Nothing())
    assert all(value.isnan().all() for name, value in found.items() if "probability" not in name)


def test_it_asks_the_same_of_a_network_whose_convolutions_are_fused_and_of_one_laid_out_otherwise(images):
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    network = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    classifier, metric = Classifier(network), CornerCauses()
    case = Case.of(classifier, images(2, SIDE).float(), 1, contents=disc().expand(2, -1, -1))
    bound = Bound.of(GradCAM(classifier, "1"), classifier)
    maps = Maps(bound.explain(classifier.evidence(case.images, case.targets, ["1"])), case, explainer=bound)
    found = []
    for setup in (Setup(2), Setup(1, channels_last=False, fused=True), Setup(1, fused=True)):
        answers = Engine(classifier, setup).answer(case, {"": (maps, metric.probes("1", case.pixels))})[""]
        found.append(metric.judge(case, maps, answers))
    convolution.padding_mode = "reflect"
    raw = bound.explain(classifier.evidence(case.images, case.targets, ["1"]))
    expected = CornerArtifact()(classifier, case.images, 1, raw.clamp(min=0))["share"]
    for columns in found:
        torch.testing.assert_close(columns["share_reflect"], expected, rtol=1e-5, atol=0)
        assert not torch.allclose(columns["share_reflect"], columns["share"], rtol=1e-3)
