"""Every image that goes through a network is counted, whoever sends it."""

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from camfaith.models.speed.counting import counting


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_plain_calls_are_counted_by_their_images(network):
    with counting(network) as tally:
        network(torch.rand(2, 3, 8, 8))
        network(torch.rand(5, 3, 8, 8))
    assert (tally.forwards, tally.backwards) == (7, 0)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_calls_without_a_graph_are_counted_too(without, network):
    with counting(network) as tally, without():
        network(torch.rand(2, 3, 8, 8))
    assert (tally.forwards, tally.backwards) == (2, 0)


def test_a_backward_is_counted_when_it_is_made_and_as_often(network):
    with counting(network) as tally:
        logits = network(torch.rand(4, 3, 8, 8))
        assert tally.backwards == 0
        logits[:, 0].sum().backward(retain_graph=True)
        assert tally.backwards == 4
        logits[:, 1].sum().backward()
    assert (tally.forwards, tally.backwards) == (4, 8)


def test_what_captum_sends_is_counted(network):
    images = torch.rand(2, 3, 8, 8)
    with counting(network) as tally:
        IntegratedGradients(network).attribute(images, target=1, n_steps=5)
    assert (tally.forwards, tally.backwards) == (2 * 5, 2 * 5)
    with counting(network) as tally:
        IntegratedGradients(network).attribute(images, target=1, n_steps=6, internal_batch_size=4)
    assert tally.forwards >= 2 * 6, "captum asks the ends once more where it goes in batches"
    assert tally.backwards == 2 * 6


def test_what_is_mapped_over_counts_as_often_as_it_is_mapped(network):
    images, mapped = torch.rand(2, 3, 4, 3, 8, 8), torch.func.vmap
    with counting(network) as tally:
        assert torch.allclose(mapped(mapped(network))(images), network(images.flatten(0, 2)).unflatten(0, (2, 3, 4)))
        assert tally.forwards == 24 + 24
        mapped(network, in_dims=-1)(images[0].movedim(0, -1))
    assert (tally.forwards, tally.backwards) == (24 + 24 + 12, 0)
    with counting(network) as tally:
        mapped(torch.func.grad(lambda image: network(image[None])[0, 1]))(images[0, 0])
    assert (tally.forwards, tally.backwards) == (4, 4)


class OfLists(nn.Module):
    def forward(self, images):
        return torch.stack([image.mean((1, 2)) for image in images])


def test_whatever_has_a_length_is_counted(network):
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    lists = OfLists()
    with counting(lists) as tally:
        lists(list(images))
        lists(tuple(images[:3]))
    assert tally.forwards == 7
    with counting(network) as tally:
        logits = network(images)
        torch.autograd.grad(logits[:, 1], images, torch.eye(4), is_grads_batched=True)
    assert (tally.forwards, tally.backwards) == (4, 4), "gradients that go back together count once"


def test_a_network_is_counted_in_the_block_alone(network):
    network(torch.rand(2, 3, 8, 8))
    with counting(network) as tally:
        network(torch.rand(3, 3, 8, 8))
    network(torch.rand(4, 3, 8, 8))
    assert tally.forwards == 3
    assert not network._forward_hooks


def test_blocks_within_each_other_each_count(network):
    with counting(network) as outer:
        with counting(network) as inner:
            network(torch.rand(3, 3, 8, 8))
        network(torch.rand(2, 3, 8, 8))
    assert (outer.forwards, inner.forwards) == (5, 3)


def test_the_hook_is_gone_after_an_error(network):
    with pytest.raises(RuntimeError, match="expected input"), counting(network) as tally:
        network(torch.rand(2, 5, 8, 8))
    assert tally.forwards == 0
    assert not network._forward_hooks


def test_counting_changes_no_number(network):
    images = torch.rand(2, 3, 8, 8)
    expected = network(images)
    with counting(network):
        assert torch.equal(network(images), expected)
