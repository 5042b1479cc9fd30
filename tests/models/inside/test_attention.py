"""Attention in two steps, against PyTorch's own; and the attention that is not seen, counted."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.models.inside.attention import opened


class Attend(nn.Module):
    """Calls the fused attention with settings of its own."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x.sin(), x.cos(), **self.settings)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("scale", [None, 0.7, -0.7])
@pytest.mark.parametrize("mask", [None, noise(5, 5) > -0.4, noise(5, 5)], ids=["none", "bool", "float"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 5, 4), (5, 4)], ids=str)
def test_attention_in_two_steps_is_the_fused_one(shape, mask, scale):
    mask = mask | torch.eye(5, dtype=torch.bool) if mask is not None and mask.dtype == torch.bool else mask
    network, x, shown = Attend(attn_mask=mask, scale=scale), noise(*shape), []
    with opened(network, shown.append):
        found = network(x)
    torch.testing.assert_close(found, network(x))
    torch.testing.assert_close(shown[0] @ x.cos(), found)


@pytest.mark.parametrize("mask", ["bool", "float"])
def test_a_token_all_of_whose_keys_are_masked_takes_nothing(mask):
    allowed = torch.ones(5, 5, dtype=torch.bool)
    allowed[1] = False
    network, x, shown = Attend(attn_mask=allowed if mask == "bool" else allowed.log()), noise(1, 1, 5, 4), []
    x.requires_grad_()
    with opened(network, shown.append):
        found = network(x)
    assert not shown[0][0, 0, 1].any()
    torch.testing.assert_close(found, network(x))
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


class Alike(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


def test_products_that_leave_the_range_of_half_precision_before_they_are_scaled_do_no_harm():
    x, shown = torch.full((1, 1, 4, 64), 40.0, dtype=torch.float16), []
    x[..., 0, :] = 39.5  # 64·40² = 102400, and float16 ends at 65504
    with opened(Alike(), shown.append):
        found = Alike()(x)
    torch.testing.assert_close(found, Alike()(x))
    torch.testing.assert_close(shown[0][0, 0, 1], torch.tensor([0, 1 / 3, 1 / 3, 1 / 3], dtype=torch.float16))


def test_code_that_views_what_the_fused_attention_gives_goes_on_working():
    x = noise(2, 5, 12)

    def attend() -> Tensor:
        heads = x.unflatten(2, (3, 4)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).view(2, 5, 12)

    with opened(nn.Identity(), lambda _: None):
        found = attend()
    torch.testing.assert_close(found, attend())


SOFTMAX = {
    "torch": lambda x: torch.softmax(x, -1),
    "special": lambda x: torch.special.softmax(x, -1),
    "method": lambda x: x.softmax(-1),
    "function": lambda x: F.softmax(x, dim=-1),
    "module": nn.Softmax(-1),
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_a_softmax_of_a_square_is_attention_that_is_not_seen(kind):
    softmax, shown = SOFTMAX[kind], []
    with opened(nn.Identity(), shown.append) as mode:
        found = softmax(noise(2, 3, 5, 5))
        softmax(noise(2, 5, 5))
        for other in [(2, 5), (5, 5), (2, 3, 1, 1), (2, 5, 4)]:  # scores of classes, gates of channels, a pooling's
            softmax(noise(*other))
    assert (mode.unseen, shown) == ([(2, 3, 5, 5), (2, 5, 5)], [])
    torch.testing.assert_close(found, noise(2, 3, 5, 5).softmax(3))


def test_the_softmax_of_what_is_seen_is_not_counted():
    x = noise(2, 5, 4)
    heads, shown = nn.MultiheadAttention(4, 2, batch_first=True).eval(), []
    with opened(nn.Identity(), shown.append) as mode:
        F.scaled_dot_product_attention(x, x, x)
        heads(x, x, x)
        heads(x, x, x, need_weights=False)
    assert (len(shown), mode.unseen) == (3, [])


@pytest.mark.parametrize("settings", [{"is_causal": True}, {"enable_gqa": True}], ids=str)
def test_causal_attention_and_grouped_queries_are_left_as_they_are_and_counted(settings):
    network, x, shown = Attend(**settings), noise(2, 3, 5, 4), []
    with opened(network, shown.append) as mode:
        found = network(x)
    assert torch.equal(found, network(x))
    assert (mode.unseen, shown) == ([(2, 3, 5, 5)], [])


def test_timms_own_attention_gives_way_to_pytorchs():
    block = timm.layers.Attention(8, num_heads=2).eval()
    block.fused_attn, shown = False, []
    expected = block(noise(1, 5, 8))
    with opened(block, shown.append) as mode:
        torch.testing.assert_close(block(noise(1, 5, 8)), expected)
    assert ([a.shape for a in shown], mode.unseen, block.fused_attn) == ([(1, 2, 5, 5)], [], False)
