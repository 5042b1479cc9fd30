"""Relative stability by its definition, on a linear network, and as the authors divide."""

import numpy as np
import pytest
import torch

from camfaith.metrics import RelativeStability
from camfaith.metrics.stability import Neighbours
from camfaith.models import Classifier


def whole(change, of):
    return np.linalg.norm(change) / np.linalg.norm(of)


def elementwise(change, of):
    return np.linalg.norm(change / np.where(of == 0, 1e-6, of))


@pytest.mark.parametrize(("variant", "size"), [("whole", whole), ("elementwise", elementwise)])
def test_it_is_the_change_of_the_map_over_that_of_the_image_or_of_the_logits(variant, size, pixel_sum, images, showing):
    """Of the neighbours that keep the class; the second image's logit is on the edge of the other class."""
    weight, pictures = torch.linspace(-1, 2, 36, dtype=torch.float64).view(6, 6), images(3, 6)
    pictures[0, :, 0, 0], weight[0, 1] = 0, 0
    edge = float((pictures[1].sum(0) * weight).sum())
    network, seeds = pixel_sum(weight, -edge + 0.2), torch.tensor([1, 2, 3])
    metric = RelativeStability(variant=variant, samples=8, radius=0.2, seed=3)
    method = showing(lambda images: images.sum(1) * weight)
    found = metric(network, pictures, 1, pictures.sum(1) * weight, method=method, seeds=seeds)
    with torch.no_grad():
        for place, (x, seed) in enumerate(zip(pictures, seeds.tolist(), strict=True)):
            ris, ros = [], []
            for move in Neighbours(8, 0.2, 3).moves(x, seed, range(8)):
                h, moved = (network(each[None])[0] for each in (x, x + move))
                if bool(h.argmax() == moved.argmax()):
                    change = size((move.sum(0) * weight).numpy(), (x.sum(0) * weight).numpy())
                    ris.append(change / max(size(move.numpy(), x.numpy()), 1e-6))
                    ros.append(change / max(float((h - moved).norm()), 1e-6))
            assert found["ris"][place].item() == pytest.approx(max(ris), rel=1e-6)
            assert found["ros"][place].item() == pytest.approx(max(ros), rel=1e-6)
            assert found["same_class"][place].item() == len(ris) / 8
    assert found["rrs"].isnan().all(), "the network has no linear layer"
    assert 0 < found["same_class"][1] < 1


def test_the_representation_is_what_the_last_linear_layer_is_given(tiny, images, brightness):
    x = images(1, 9)
    metric = RelativeStability(samples=5, radius=0.1)
    found = metric(tiny, x, 0, x.sum(1), method=brightness)
    near = x + Neighbours(5, 0.1).moves(x[0], 0, range(5))
    with torch.no_grad():
        own, others = tiny[:-1](x), tiny[:-1](near)
        same = tiny(near).argmax(1) == tiny(x).argmax(1)
    change = [
        whole(y.sum(0) - x[0].sum(0), x[0].sum(0)) / whole(f - own[0], own[0])
        for y, f in zip(near, others, strict=True)
    ]
    assert found["rrs"].item() == pytest.approx(max(c for c, kept in zip(change, same, strict=True) if kept), rel=1e-4)
    assert same.any()


def test_numbers_that_change_their_order_are_no_other_class(pixel_sum, images, brightness):
    picture, weight = images(1, 6), torch.linspace(-1, 2, 36, dtype=torch.float64).view(6, 6)
    network = pixel_sum(weight, 0.2 - float((picture[0].sum(0) * weight).sum()))
    metric, given = RelativeStability(samples=8, radius=0.2), (picture, 1, picture.sum(1))
    labels, numbers = (
        metric(Classifier(network, head=head), *given, method=brightness)["same_class"].item()
        for head in ("softmax", "regression")
    )
    assert labels < numbers == 1


def test_where_every_neighbour_is_of_another_class_there_is_no_value(images, brightness):
    picture = images(1, 6).float()

    class Picky(torch.nn.Module):
        def forward(self, x):
            same = (x[:, 0, 0, 0] == picture[0, 0, 0, 0]).float()
            return torch.stack([5 * same, 2 - 3 * same], 1)

    found = RelativeStability(samples=3)(Picky(), picture, 0, picture.sum(1), method=brightness)
    assert found["ris"].isnan().all()
    assert found["ros"].isnan().all()
    assert found["same_class"].tolist() == [0]
