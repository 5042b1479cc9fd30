"""Weights drawn anew: which layers, which numbers, and that the trained ones come back."""

import zlib
from collections import OrderedDict
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from camfaith.models.errors import NotApplicable
from camfaith.models.inside.random_weights import weight_layers, weights_drawn


def network(dtype=torch.float64):
    layers = OrderedDict(
        stem=nn.Conv2d(3, 4, 3),
        norm=nn.BatchNorm2d(4),
        relu=nn.ReLU(),
        block=nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.Conv2d(4, 4, 3, bias=False), nn.GroupNorm(2, 4)),
        attention=nn.MultiheadAttention(4, 2),
        head=nn.Linear(4, 3),
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        found = nn.Sequential(layers)
        for tensor in [*found.parameters(), *found.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1)
    return found.to(dtype).eval()


def state(of):
    return {name: value.clone() for name, value in of.state_dict(keep_vars=False).items()}


def test_a_norm_goes_with_the_layer_before_it():
    assert weight_layers(network()) == [
        ("stem", "norm"),
        ("block.0",),
        ("block.1", "block.2"),
        ("attention",),
        ("attention.out_proj",),
        ("head",),
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_has_the_numbers_of_a_new_one_from_the_seed_and_its_name_and_the_others_stay(dtype):
    given = network(dtype)
    before = state(given)
    with weights_drawn(given, ["block.0", "block.1", "norm"], seed=7):
        now = state(given)
    for name in ("block.0", "block.1"):
        with torch.random.fork_rng():
            torch.manual_seed(7 * 1_000_003 + zlib.crc32(name.encode()))
            new = nn.Conv2d(4, 4, 3, bias=False).weight.detach()
        assert torch.equal(now[f"{name}.weight"], new.to(dtype))
    assert not torch.equal(now["block.0.weight"], now["block.1.weight"])
    assert [now[f"norm.{part}"].unique().tolist() for part in ("weight", "bias", "running_mean", "running_var")] == [
        [1],
        [0],
        [0],
        [1],
    ]
    others = [name for name in before if not name.startswith(("block.0", "block.1", "norm"))]
    assert all(torch.equal(now[name], before[name]) for name in others)


def test_whatever_happens_every_tensor_comes_back_and_no_generator_moves():
    given = network()
    given.requires_grad_(False)
    objects, before, drawn = [*given.parameters(), *given.buffers()], state(given), torch.get_rng_state()
    every = [name for names in weight_layers(given) for name in names]
    with suppress(ArithmeticError), torch.inference_mode(), weights_drawn(given, every, seed=0):
        assert not any(tensor.requires_grad or tensor.is_inference() for tensor in given.parameters())
        assert not any(torch.equal(value, before[name]) for name, value in given.named_parameters())
        raise ArithmeticError
    now = [*given.parameters(), *given.buffers()]
    assert all(one is other for one, other in zip(now, objects, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in state(given).items())
    assert torch.equal(torch.get_rng_state(), drawn)


class Stubborn(nn.Conv2d):
    def reset_parameters(self):
        pass


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(NotApplicable, match="Sequential has no layer that draws weights"):
        weight_layers(nn.Sequential(nn.ReLU()))
    with pytest.raises(NotApplicable, match="'0' is parametrised"):
        weight_layers(nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3))))
    with pytest.raises(NotApplicable, match="TorchScript"):
        weight_layers(torch.jit.trace(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(1, 3, 5, 5)))
    given = Stubborn(3, 4, 3)
    nn.init.ones_(given.weight)  # nothing has drawn them
    weight = given.weight
    with pytest.raises(NotApplicable, match=r"layer '' \(Stubborn\) does not draw"), weights_drawn(given, [""], seed=0):
        pass
    assert given.weight is weight
