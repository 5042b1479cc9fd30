"""A network may keep a tensor that it made in a forward (positions, masks): whatever ran first, it can be explained."""

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import GradCAM
from camfaith.metrics import Deletion
from camfaith.models import Classifier
from camfaith.models.inside.ablation import ablate_channels
from camfaith.models.layers import survey
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning import rate

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Keeping(nn.Module):
    """Multiplies its activations by weights of the places, which it makes in its first forward and keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head, self.places = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), None

    def forward(self, images: Tensor) -> Tensor:
        cells = self.conv(images)
        if self.places is None:
            self.places = torch.linspace(0.5, 1.5, cells.shape[-1])
        return self.head((cells * self.places).relu().mean((2, 3)))


ACTIONS = {
    "scores": lambda model: model.scores(IMAGES),
    "survey": lambda model: survey(model, IMAGES),
    "ablation": lambda model: ablate_channels(model, "conv", IMAGES[:1], 4),
    "rate": lambda model: rate(model, IMAGES[:1], Setup(batch_size=2), seconds=0),
    "metric": lambda model: Deletion(steps=4)(model, IMAGES, [0, 1], torch.rand(2, 8, 8)),
}


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_network_that_keeps_tensors_can_be_explained_after(action, around):
    torch.manual_seed(2)
    network = Keeping()
    model = Classifier(network, layer="conv")
    with around():
        ACTIONS[action](model)
    found = GradCAM(model)(IMAGES, [0, 1])
    network.places = None
    assert torch.equal(found, GradCAM(model)(IMAGES, [0, 1]))
