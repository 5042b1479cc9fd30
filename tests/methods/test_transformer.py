"""Rollout and LeGrad against their papers' formulas in loops, with attention computed by hand from the weights."""

import math

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer, VisionTransformer

from camfaith.methods import AttentionRollout, Calls, LeGrad
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.transformer import observe

TIMM = {"pretrained": False, "num_classes": 4, "img_size": (24, 16), "patch_size": 8, "depth": 3, "embed_dim": 8}
TIMM |= {"num_heads": 2}


def uneven() -> VisionTransformer:
    """Its second block has four heads, the others two."""
    network = VisionTransformer(16, 8, 3, 2, 8, 16, num_classes=4)
    attention = network.encoder.layers[1].self_attention
    attention.num_heads, attention.head_dim = 4, 2
    return network


NETWORKS = {
    "torchvision": uneven,
    "timm": lambda: timm.create_model("vit_tiny_patch16_224", **TIMM, qk_norm=True),
    "distilled": lambda: timm.create_model("deit_tiny_distilled_patch16_224", **TIMM),
    "pooled": lambda: timm.create_model("vit_medium_patch16_reg4_gap_256", **TIMM),
}


@pytest.fixture(scope="module")
def transformer():
    """A classifier of 2×2 or 3×2 patches, in double precision, with weights that make its attention uneven."""
    built: dict[str, Classifier] = {}

    def make(name: str) -> Classifier:
        if name not in built:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(4)
                network = NETWORKS[name]()
                for parameter in network.parameters():
                    nn.init.normal_(parameter, 0.0, 0.5)
            built[name] = Classifier(network.double().eval(), name=name)
        return built[name]

    return make


def pictures(classifier: Classifier, count: int = 2) -> Tensor:
    size = (16, 16) if classifier.name == "torchvision" else (24, 16)
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


class ByHand:
    """A vision transformer's parts by the names that the libraries give them; blocks written out, heads one by one."""

    def __init__(self, classifier: Classifier) -> None:
        self.network, self.ours = classifier.network, classifier.name == "torchvision"
        self.blocks = list(self.network.encoder.layers if self.ours else self.network.blocks)

    def embedded(self, images: Tensor) -> Tensor:
        if self.ours:
            patches = self.network.conv_proj(images).flatten(2).mT
            return torch.cat([self.network.class_token.expand(len(images), -1, -1), patches], 1) + (
                self.network.encoder.pos_embedding
            )
        return self.network.norm_pre(self.network._pos_embed(self.network.patch_embed(images)))

    def block(self, number: int, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The block's output, and its attention matrices (B×T×T), one a head."""
        block = self.blocks[number]
        first, second = (block.ln_1, block.ln_2) if self.ours else (block.norm1, block.norm2)
        attention = block.self_attention if self.ours else block.attn
        inner, outer = (
            (attention.in_proj_weight, attention.out_proj) if self.ours else (attention.qkv.weight, attention.proj)
        )
        bias = attention.in_proj_bias if self.ours else attention.qkv.bias
        q, k, v = F.linear(first(x), inner, bias).chunk(3, 2)
        width, matrices, mixed = x.shape[2] // attention.num_heads, [], []
        for head in range(attention.num_heads):
            a, b, c = (part[..., head * width : (head + 1) * width] for part in (q, k, v))
            if not self.ours:
                a, b = attention.q_norm(a), attention.k_norm(b)
            matrices.append((a @ b.mT / math.sqrt(width)).softmax(2))
            mixed.append(matrices[-1] @ c)
        x = x + getattr(block, "ls1", nn.Identity())(outer(torch.cat(mixed, 2)))
        return x + getattr(block, "ls2", nn.Identity())(block.mlp(second(x))), matrices

    def head(self, tokens: Tensor) -> Tensor:
        if self.ours:
            return self.network.heads(self.network.encoder.ln(tokens)[:, 0])
        return self.network.forward_head(self.network.norm(tokens))

    def layers(self, images: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        found, x = [], self.embedded(images)
        for number in range(len(self.blocks)):
            found.append(self.block(number, x))
            x = found[-1][0]
        return found


ROWS = {"torchvision": [0], "timm": [0], "distilled": [0, 1], "pooled": [4, 5, 6, 7, 8, 9]}
"""The tokens that each head reads."""
PREFIX = {"torchvision": 1, "timm": 1, "distilled": 2, "pooled": 4}


def slow_rollout(layers: list[tuple[Tensor, list[Tensor]]], image: int, rows: list[int]) -> list[float]:
    """Ã(l) = A(l) Ã(l − 1), with A(l) half the mean of the heads and half the identity; one entry at a time."""
    count = layers[0][0].shape[1]
    rolled = [[float(i == j) for j in range(count)] for i in range(count)]
    for _, heads in layers:
        a = [
            [0.5 * sum(float(h[image, i, j]) for h in heads) / len(heads) + 0.5 * (i == j) for j in range(count)]
            for i in range(count)
        ]
        rolled = [[sum(a[i][m] * rolled[m][j] for m in range(count)) for j in range(count)] for i in range(count)]
    return [sum(rolled[i][j] for i in rows) / len(rows) for j in range(count)]


def slow_legrad(parts: ByHand, images: Tensor, targets: list[int], layers: range) -> Tensor:
    """Σ_l Σ_h Σ_i ReLU(∂s_l/∂A_l,h,i,j) / (L h T), one layer's graph at a time."""
    total = 0
    for number in layers:
        tokens, matrices = parts.layers(images)[number]
        logits = parts.head(tokens.mean(1, keepdim=True).expand_as(tokens))
        score = sum(logits[image, target] for image, target in enumerate(targets))
        for gradient in torch.autograd.grad(score, matrices):
            for row in range(gradient.shape[1]):
                total = total + gradient[:, row].clamp(min=0) / len(matrices)
    return total / (len(layers) * tokens.shape[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_rollout_is_the_product_of_its_paper(transformer, name):
    classifier = transformer(name)
    images = pictures(classifier)
    found = AttentionRollout(classifier).raw(images)
    with torch.no_grad():
        layers = ByHand(classifier).layers(images)
    for image in range(2):
        expected = slow_rollout(layers, image, ROWS[name])
        assert sum(expected) == pytest.approx(1)
        assert found[image].flatten().tolist() == pytest.approx(expected[PREFIX[name] :])


@pytest.mark.parametrize("layers", [None, 1, 2, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_legrad_is_the_mean_of_its_paper(transformer, name, layers):
    classifier, targets = transformer(name), [3, 1]
    images = pictures(classifier)
    found = LeGrad(classifier, layers=layers).raw(images, targets)
    chosen = range(max(0, 3 - (layers or 3)), 3)
    expected = slow_legrad(ByHand(classifier), images, targets, chosen)[:, PREFIX[name] :]
    torch.testing.assert_close(found.flatten(1), expected)
    assert found.shape[1:] == ((3, 2) if len(expected[0]) == 6 else (2, 2))


@pytest.mark.parametrize(("together", "heads"), [(1, [2, 2, 2]), (4, [4, 2]), (64, [6])])
def test_layers_whose_scores_are_asked_together_give_the_same_map(transformer, monkeypatch, together, heads):
    classifier = transformer("torchvision")
    images = pictures(classifier)
    expected = torch.cat(
        [LeGrad(classifier).raw(image[None], target) for image, target in zip(images, (1, 3), strict=True)]
    )
    monkeypatch.setattr("camfaith.methods.transformer.batch_size", lambda _images: together)
    sizes = []
    handle = classifier.network.register_forward_hook(lambda _m, _i, output: sizes.append(len(output)))
    torch.testing.assert_close(LeGrad(classifier).raw(images, [1, 3]), expected)
    handle.remove()
    assert sizes == [2, 2, *heads]


def test_the_cost_of_legrad_follows_its_layers(transformer):
    classifier = transformer("torchvision")
    image = pictures(classifier, 1)
    costs = [LeGrad(classifier, layers=layers).cost(image) for layers in (None, 1, 2, 9)]
    assert costs == [Calls(5, 3), Calls(3, 1), Calls(4, 2), Calls(5, 3)]


def test_the_network_comes_back_when_it_breaks(transformer):
    classifier = transformer("torchvision")
    head, images = classifier.network.heads, pictures(classifier)
    evidence = classifier.evidence(images, 1)
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("broken")

    handle = head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        LeGrad(classifier).explain(evidence, classifier)
    handle.remove()
    assert not any("forward" in vars(module) for module in classifier.network.modules())
    assert torch.equal(classifier.scores(images), evidence.logits)


class ClassToken(nn.Module):
    def forward(self, tokens):
        return tokens[:, 0]


class Encoder(nn.Module):
    """PyTorch's own encoder layers, which have a fast path in evaluation mode, behind patches and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.3)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.read, self.head = ClassToken(), nn.Linear(8, 3)

    def forward(self, images):
        patches = self.embed(images).flatten(2).mT
        return self.head(self.read(self.encoder(torch.cat([patches.mean(1, keepdim=True), patches], 1))))


def test_fast_paths_show_their_attention():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Encoder().eval()
    images, shown = torch.rand(2, 3, 8, 12), []
    seen = observe(Classifier(network), images, lambda attention: shown.append(attention.reshape(2, 2, 7, 7)))
    x = seen.blocks[0].tokens
    _, expected = network.encoder.layers[0].self_attn(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(shown[0], expected)
    assert (len(shown), seen.grid.height, seen.grid.width) == (2, 2, 3)


class Stack(nn.Module):
    """Patches, layers that keep their tokens, and a head on the mean."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.embed, self.layers, self.head = nn.Conv2d(3, 4, 4, 4), nn.Sequential(*layers), nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.layers(self.embed(images).flatten(2).mT).mean(1))


class Attend(nn.Module):
    def forward(self, tokens):
        return tokens + F.scaled_dot_product_attention(tokens, tokens, tokens)


def test_a_module_that_calls_the_fused_attention_is_a_block():
    network, image = Stack(Attend(), Attend()), torch.rand(1, 3, 16, 16)
    assert LeGrad(network).cost(image) == Calls(4, 2)
    assert LeGrad(network).raw(image, 0).shape == (1, 4, 4)


@pytest.mark.parametrize("method", [AttentionRollout, LeGrad], ids=lambda method: method.name)
def test_other_networks_are_told_that_they_have_no_global_attention(method):
    network, image = SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], num_classes=2).eval(), torch.rand(1, 3, 16, 16)
    with pytest.raises(NotApplicable, match=r"expected a vision transformer.*SwinTransformer shows .*gradient CAM"):
        method(network).raw(image, 0)
    assert LeGrad(network).cost(image) == Calls(forwards=1)


def test_a_head_that_reads_nothing_gives_no_row():
    network = VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=4).eval()
    with pytest.raises(NotApplicable, match=r"depends on no token.*head of zeros"):
        AttentionRollout(network).raw(torch.rand(1, 3, 16, 16))


def test_where_a_single_layer_ends_is_not_known_and_rollout_need_not_know():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=4)
        nn.init.normal_(network.heads.head.weight)
    classifier = Classifier(network.double().eval(), name="torchvision")
    images = pictures(classifier)
    with torch.no_grad():
        layers = ByHand(classifier).layers(images)
    found = AttentionRollout(classifier).raw(images)
    assert found[1].flatten().tolist() == pytest.approx(slow_rollout(layers, 1, [0])[1:])
    with pytest.raises(NotApplicable, match=r"expected two blocks or more.*torchvision has one: use rollout"):
        LeGrad(classifier).raw(images)


class ClassAndMean(nn.Module):
    """A head on the class token beside the mean of the patches."""

    def forward(self, tokens):
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)


def test_a_head_that_reads_the_class_token_and_the_patches_gives_the_mean_of_all_rows():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = Encoder().double().eval()
    network.read, network.head = ClassAndMean(), nn.Linear(16, 3).double()
    images, shown = torch.rand(1, 3, 8, 12, dtype=torch.float64), []
    with torch.no_grad():
        observe(Classifier(network), images, lambda attention: shown.append((attention, attention.reshape(1, 2, 7, 7))))
    expected = slow_rollout([(torch.zeros(1, 7, 8), [a[:, 0], a[:, 1]]) for _, a in shown], 0, list(range(7)))
    assert AttentionRollout(network).raw(images).flatten().tolist() == pytest.approx(expected[1:])
