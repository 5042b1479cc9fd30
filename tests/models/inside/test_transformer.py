"""Which networks are vision transformers whose attention can be followed from block to block, and what others lack."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.transformer import depth, observe

SMALL = {"pretrained": False, "num_classes": 4, "depth": 2, "embed_dim": 16, "num_heads": 2}
SWIN = {"img_size": 16, "window_size": 2, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2)}
TIMM = {
    "deit3_small_patch16_224": (64, 4),
    "beitv2_base_patch16_224": (64, 4),
    "vit_relpos_small_patch16_224": (64, 4),
    "vit_small_patch16_dinov3": (64, 4),
    "eva02_tiny_patch14_224": (56, 4),
    "vit_base_patch16_siglip_gap_224": (64, 4),
    "vit_tiny_r_s16_p8_224": (64, 2),
    "vit_base_patch16_xp_224": (64, 4),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", TIMM)
def test_timms_vision_transformers_are_chains_of_blocks(name, fused):
    size, side = TIMM[name]
    network = timm.create_model(name, img_size=size, **SMALL).eval()
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    seen = observe(Classifier(network), torch.rand(1, 3, size, size))
    assert [block.name for block in seen.blocks] == ["blocks.0", "blocks.1"]
    assert (seen.grid.height, seen.grid.width) == (side, side)


class Attention(nn.Module):
    """The fused attention of each token to all; nothing but the attention, so that sums lie where a test puts them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def attend(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attend(self.norm(tokens))


class Block(Attention):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + super().forward(tokens)


class ByHand(Block):
    """Attention spelt out."""

    def attend(self, x: Tensor) -> Tensor:
        return (x @ x.mT / 2).softmax(2) @ x


class Causal(Block):
    def attend(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


class InPairs(Block):
    """Attention among every two tokens."""

    def attend(self, x: Tensor) -> Tensor:
        return super().attend(x.unflatten(1, (-1, 2))).flatten(1, 2)


class InPairsByHand(Block):
    """Attention among every two tokens, spelt out."""

    def attend(self, x: Tensor) -> Tensor:
        pairs = x.unflatten(1, (-1, 2)).flatten(0, 1)[:, None]
        return ((pairs @ pairs.mT / 2).softmax(3) @ pairs).flatten(0, 2).reshape(x.shape)


class Twice(Block):
    """Two attentions in one block."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(super().forward(tokens))


class Stages(nn.Module):
    """8×8 cells in four windows along the batch, then 4×4 cells in one: every attention is 16×16."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.windows, self.merge = nn.Conv2d(3, 4, 2, 2), Block(), nn.Conv2d(4, 4, 2, 2)
        self.whole, self.head = Block(), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).mT
        mixed = self.windows(tokens.unflatten(1, (4, 16)).flatten(0, 1)).unflatten(0, (-1, 4)).flatten(1, 2)
        return self.head(self.whole(self.merge(mixed.mT.unflatten(2, (8, 8))).flatten(2).mT).mean(1))


class Tuple(Block):
    def forward(self, tokens: tuple[Tensor, None] | Tensor) -> tuple[Tensor, None]:
        return super().forward(tokens if isinstance(tokens, Tensor) else tokens[0]), None


class InPlace(Attention):
    def forward(self, tokens: Tensor) -> Tensor:
        tokens += super().forward(tokens)
        return tokens


class Network(nn.Module):
    """4×4 patches, blocks one after another, and a head on the mean."""

    def __init__(self, *blocks: nn.Module, embed: nn.Module | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.embed, self.blocks = embed or nn.Conv2d(3, 4, 4, 4), nn.ModuleList(blocks)
            self.head = nn.Linear(4, 2)

    def tokens(self, images: Tensor) -> Tensor:
        return self.embed(images).flatten(2).mT

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.head((x[0] if isinstance(x, tuple) else x).mean(1))


class SumsOutside(Network):
    """What goes past an attention is added in the network's own forward."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))


class Outside(nn.Module):
    """What comes out is no tensor, so that the block is what lies within, without the sum."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        return tokens + self.inner(tokens), None


class WrittenBetween(Network):
    """What a block gave is written into before the next takes it."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
            x += 1
        return self.head(x.mean(1))


class SideBySide(Network):
    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        return self.head(sum(block(x) for block in self.blocks).mean(1))


class ReadsEvery(Network):
    """The head reads what every block gave."""

    def forward(self, images: Tensor) -> Tensor:
        x, total = self.tokens(images), 0
        for block in self.blocks:
            x = block(x)
            total = total + x.mean(1)
        return self.head(total)


class TokensFirst(nn.Module):
    """PyTorch's attention as it comes: T×B×K."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 2)
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(4, 1, 8) for _ in range(2)])

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).permute(2, 0, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(0))


class Unfold(nn.Module):
    """Patches without a convolution: their place is not known."""

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(torch.cat([images, images[:, :1]], 1), 4)


OTHERS = {
    "no attention": (lambda: Network(nn.LayerNorm(4)), "none"),
    "windows": (lambda: Network(InPairs(), InPairs()), "attention of 2×2, within windows or from other tokens than"),
    "windows by hand": (lambda: Network(InPairsByHand()), "attention of 2×2, within windows or from other tokens than"),
    "some windows": (lambda: Network(InPairs(), Block()), "attention of 2×2, 16×16, within windows or from other"),
    "by hand": (lambda: Network(ByHand(), ByHand()), "16×16 in code of its own.*scaled_dot_product_attention would be"),
    "partly by hand": (lambda: Network(Block(), ByHand()), "attention of 16×16 in code of its own"),
    "causal": (lambda: Network(Block(), Causal()), "attention of 16×16 in code of its own, causal"),
    "tuples": (lambda: Network(Block(), Tuple()), "16×16, not always within a module.*gives tokens B×16×K"),
    "tokens first": (TokensFirst, "attention of 16×16, not always within a module.*gives tokens B×16×K"),
    "no convolution": (lambda: Network(Block(), Block(), embed=Unfold()), "rows 2×16×4 that are not known as B×T×K"),
    "written by a block": (lambda: Network(Block(), InPlace()), "tokens that are written into, at block 'blocks.0'"),
    "written between": (lambda: WrittenBetween(Block(), Block()), "tokens that are written into, at block 'blocks.0'"),
    "sums outside": (
        lambda: SumsOutside(Attention(), Attention()), "'blocks.1', that does not take what .* before it, 'blocks.0', g"
    ),
    "sums outside of the last": (
        lambda: Network(Block(), Outside(Attention())), "logits that do not follow from what .*'blocks.1.inner', gives"
    ),
    "two attentions in a block": (lambda: Network(Block(), Twice()), ""),
    "windows as large as the last stage": (Stages, ""),
    "timm's swin": (lambda: timm.create_model("swin_tiny_patch4_window7_224", **SWIN), ""),
    "a pooling query": (
        lambda: timm.create_model("vit_tiny_patch16_224", **SMALL, img_size=16, patch_size=8, global_pool="map"), ""
    ),
    "side by side": (lambda: SideBySide(Block(), Block()), "a block, 'blocks.1', that does not take what"),
    "a head that reads every block": (
        lambda: ReadsEvery(Block(), Block()), "logits that do not follow from what its last block, 'blocks.1', gives"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_of_other_networks_it_is_said_what_they_lack(kind):
    build, message = OTHERS[kind]
    classifier, images = Classifier(build().eval()), torch.rand(2, 3, 16, 16)
    with pytest.raises(
        NotApplicable, match=rf"expected a vision transformer.* shows .*{message}.*: use a gradient CAM$"
    ):
        observe(classifier, images)
    assert depth(classifier, images[:1]) == 0


def test_blocks_that_follow_one_another_are_seen_with_what_they_take_and_give():
    network, images = Network(Block(), Block(), Block()).eval(), torch.rand(2, 3, 16, 16)
    seen = observe(Classifier(network), images)
    x = network.tokens(images)
    for block, (number, module) in zip(seen.blocks, enumerate(network.blocks), strict=True):
        assert (block.name, block.module) == (f"blocks.{number}", module)
        torch.testing.assert_close(block.tokens, x)
        x = module(x)
        torch.testing.assert_close(block.output, x)
