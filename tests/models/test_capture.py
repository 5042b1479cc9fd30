"""One forward and one backward: what is kept is right, and nothing is left behind."""

import warnings
from collections import OrderedDict
from contextlib import nullcontext

import pytest
import torch
import torchvision
from torch import Tensor, nn

from camfaith.models import Classifier, LayerError, UnknownName, survey
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.ablation import ablate_channels
from camfaith.models.naming import find_module, layer_name


def seeded(network: nn.Module) -> nn.Module:
    source = torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=source, dtype=torch.float64) * 0.3
    return network.double().eval()


def small(relu: type[nn.Module] | None = None) -> nn.Module:
    """conv → in-place ReLU → conv → pooling → linear, with dropout and batch norm on the way."""
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 4, 3),
        relu=nn.ReLU(inplace=True) if relu is None else relu(),
        norm=nn.BatchNorm2d(4),
        drop=nn.Dropout(0.5),
        conv2=nn.Conv2d(4, 5, 3),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        head=nn.Linear(5, 3),
    )
    return seeded(nn.Sequential(layers))


def noise(count: int = 2, side: int = 8) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_before_an_in_place_relu_the_output_is_kept_and_the_gradient_is_the_finite_difference():
    network, step = small(), 1e-6
    evidence = Classifier(network).evidence(noise(), [0, 2], ["conv1"])
    a, alone = evidence.activations["conv1"], Classifier(network).evidence(noise(), 1, ["conv1"], gradients=False)
    assert (a < 0).any()
    torch.testing.assert_close(a, network.conv1(noise()).detach())
    assert (list(alone.activations), alone.gradients) == (["conv1"], {})
    source = torch.Generator().manual_seed(0)
    for _ in range(20):
        place = [int(torch.randint(n, (1,), generator=source)) for n in a.shape]
        moved = torch.zeros_like(a)
        moved[tuple(place)] = step
        up, down = (network[1:](a + sign * moved)[place[0], [0, 2][place[0]]].item() for sign in (1, -1))
        assert evidence.gradients["conv1"][tuple(place)].item() == pytest.approx((up - down) / (2 * step), abs=1e-7)


class Twice(nn.Module):
    """Calls one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv(self.conv(x).relu()).mean((2, 3)))
        return out


def test_of_a_layer_called_twice_the_last_call_counts_with_a_warning_unless_one_is_named():
    network = seeded(Twice())
    first, last = network.conv(noise()).detach(), network.conv(network.conv(noise()).relu()).detach()
    with pytest.warns(UserWarning, match=r"'conv' runs more than once.*last call is explained \('conv#1' is the first"):
        evidence = Classifier(network).evidence(noise(), 1, ["conv"])
    torch.testing.assert_close(evidence.activations["conv"], last)
    expected = (network.head.weight[1] / 64).detach()[None, :, None, None].expand(2, 3, 8, 8)
    torch.testing.assert_close(evidence.gradients["conv"], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = Classifier(network).evidence(noise(), 1, ["conv#1", "conv#2"])
    torch.testing.assert_close(both.activations["conv#1"], first)
    torch.testing.assert_close(both.activations["conv#2"], last)
    torch.testing.assert_close(both.gradients["conv#2"], expected)
    moved, step = torch.zeros_like(first), 1e-6
    moved[0, 1, 2, 3] = step
    up, down = (network.head(network.conv((first + s * moved).relu()).mean((2, 3)))[0, 1] for s in (1, -1))
    assert both.gradients["conv#1"][0, 1, 2, 3].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-7)


def test_channels_are_switched_off_in_the_call_that_is_named():
    network, image = seeded(Twice()), noise(1)
    gone = network.conv(image)
    gone[:, 1] = 0
    expected = network.head(network.conv(gone.relu()).mean((2, 3)))[0]
    torch.testing.assert_close(ablate_channels(Classifier(network), "conv#1", image, 2)[0][1], expected.detach())


class Compiled(nn.Module):
    """A body of two layers, compiled in a wrapper or in place, that has run before hooks come."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 2)
        seeded(self)
        if in_place:
            self.body.compile(backend="eager")
        else:
            self.body = torch.compile(self.body, backend="eager")
        self(noise().requires_grad_())
        self(noise())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean((2, 3)))
        return out


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_child_is_seen_after_it_has_run(in_place):
    network = Compiled(in_place=in_place)
    body = network.body if in_place else network.body._orig_mod
    classifier = Classifier(network)
    found = classifier.evidence(noise(), 1, ["body.0", "body"])
    torch.testing.assert_close(found.activations["body.0"], body[0](noise()).detach())
    assert [layer.name for layer in survey(classifier, noise())] == ["body.0", "body.1", "body", "head"]
    assert layer_name(network, body[0]) == "body.0"
    with pytest.raises(UnknownName, match=r"known: body, body\.0, body\.1, head$"):
        find_module(network, "body.2")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("targets", [None, 1, [0, 1], "tensor"])
def test_evidence_can_be_taken_where_gradients_are_switched_off(mode, targets):
    network = small()
    given = torch.tensor([0, 1]) if targets == "tensor" else targets
    expected = Classifier(network).evidence(noise(), given, ["conv1"])
    with mode():
        inside = torch.tensor([0, 1]) if targets == "tensor" else targets
        found = Classifier(network).evidence(noise(), inside, ["conv1"])
        assert torch.is_grad_enabled() is False
    assert torch.equal(found.gradients["conv1"], expected.gradients["conv1"])
    assert torch.equal(found.targets, expected.targets)


class Breaking(nn.Module):
    """Passes its input on, until it is told to break."""

    broken = False

    def forward(self, x: Tensor) -> Tensor:
        if self.broken:
            raise RuntimeError("broken on purpose")
        return x


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("call", ["evidence", "scores"])
def test_the_network_and_the_random_numbers_come_back_as_they_were(broken, call):
    network = small()
    network.add_module("breaking", Breaking())
    network.breaking.broken = broken
    network.train()
    network.norm.eval()
    network.conv2.weight.requires_grad_(False)
    network.head.weight.grad = torch.full_like(network.head.weight, 3.0)
    network.drop.register_forward_hook(lambda *_: None)
    pictures = noise().requires_grad_()

    def state() -> object:
        return (
            {name: module.training for name, module in network.named_modules()},
            {name: parameter.requires_grad for name, parameter in network.named_parameters()},
            {name: None if p.grad is None else p.grad.tolist() for name, p in network.named_parameters()},
            {name: len(module._forward_hooks) for name, module in network.named_modules()},
            {name: value.tolist() for name, value in network.state_dict().items()},
            torch.random.get_rng_state().tolist(),
            (pictures.tolist(), pictures.grad, pictures.requires_grad, torch.is_grad_enabled()),
        )

    before, classifier = state(), Classifier(network)
    classifier.train()
    network.norm.eval()
    with pytest.raises(RuntimeError, match="broken on purpose") if broken else nullcontext():
        if call == "evidence":
            classifier.evidence(pictures, 1, ["conv1", "conv2"])
        else:
            classifier.scores(pictures)
    assert state() == before


def test_several_and_nested_layers_in_one_capture_are_one_capture_each():
    network = torchvision.models.resnet18(weights=None, num_classes=4).double().eval()
    layers = ["layer2", "layer2.0", "layer2.1", "layer2.1.bn2", "layer3", "layer4.1.conv2", "conv1"]
    together = Classifier(network).evidence(noise(2, 48), [3, 0], layers)
    for layer in layers:
        alone = Classifier(network).evidence(noise(2, 48), [3, 0], [layer])
        torch.testing.assert_close(together.activations[layer], alone.activations[layer], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together.gradients[layer], alone.gradients[layer], rtol=1e-10, atol=1e-12)
        assert not together.activations[layer].requires_grad
    torch.testing.assert_close(together.logits, Classifier(network).scores(noise(2, 48)))


class Aside(nn.Module):
    """A convolution whose output is thrown away, one that never runs, and layers that are not spatial."""

    def __init__(self) -> None:
        super().__init__()
        self.aside, self.idle, self.conv = (nn.Conv2d(3, 4, 3) for _ in range(3))
        self.pair = Pair()
        self.mixed = nn.Linear(36, 4)
        self.head = nn.Linear(4, 2)
        self.by_hand = nn.Identity()
        self.parts = nn.ModuleList([nn.Identity(), nn.Sequential(nn.Identity())])
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        self.parts[1](self.parts[0](self.by_hand.forward(x)))
        self.attention(*[x.new_zeros(1, 2, 4)] * 3)
        kept, _ = self.pair(self.conv(x))
        mixed = self.mixed(kept.flatten(2))
        out: Tensor = self.head(mixed.mean(2))
        return out


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x, 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("aside", "does not depend on.*'aside'"),
        ("idle", "'idle' does not run in evaluation mode"),
        ("by_hand", r"'by_hand' is run by its `forward`.*call by_hand\(\.\.\.\)"),
        ("parts", r"'parts' does not run itself, its parts do; name one, as 'parts\.1'"),
        ("attention.out_proj", "out_proj' does not run itself, multi_head_attention_forward reads its weights"),
        ("conv#2", "'conv#2': 'conv' runs 1 time in a forward; name a call up to 1"),
        ("conv#last", "'conv#last': expected a number from 1 behind '#'"),
        ("mixed", "'mixed' has no spatial output: expected B×K×h×w.*got 2×4×4"),
        ("head", "'head' has no spatial output.*got 2×2"),
        ("pair", "'pair' returns a tuple, not a tensor"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_named(layer, message):
    with pytest.raises(LayerError, match=message):
        Classifier(seeded(Aside())).evidence(noise(), 1, ["conv", layer])


def test_rows_of_the_evidence_belong_together():
    masks = torch.rand(3, 8, 8) > 0.5
    evidence = Classifier(small()).evidence(noise(3), [0, 1, 2], ["conv1"], seeds=torch.arange(3), masks=masks)
    some = evidence.select([2, 0])
    assert len(some) == 2
    assert some.targets.tolist() == some.seeds.tolist() == [2, 0]
    for kept, whole in [
        (some.images, evidence.images),
        (some.logits, evidence.logits),
        (some.masks, evidence.masks),
        (some.activations["conv1"], evidence.activations["conv1"]),
        (some.gradients["conv1"], evidence.gradients["conv1"]),
    ]:
        assert torch.equal(kept, whole[[2, 0]])
    assert len(evidence.select(slice(1, 2))) == 1


def quantised(*, whole: bool) -> nn.Module:
    """`small` in whole numbers: all of it, or its head alone, as dynamic quantisation does."""
    quantisation = torch.ao.quantization
    network = small(nn.ReLU).float()
    if not whole:
        return quantisation.quantize_dynamic(network, {nn.Linear})
    network = nn.Sequential(OrderedDict(start=quantisation.QuantStub(), net=network, end=quantisation.DeQuantStub()))
    network.qconfig = quantisation.get_default_qconfig(torch.backends.quantized.engine)
    quantisation.prepare(network, inplace=True)(noise().float())
    return quantisation.convert(network)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [False, True])
def test_of_a_quantised_network_there_are_activations_and_who_asks_for_gradients_is_told_why(whole):
    network, layer = quantised(whole=whole), "net.conv1" if whole else "conv1"
    evidence = Classifier(network).evidence(noise().float(), 1, [layer]).select([1])
    torch.testing.assert_close(evidence.activations[layer], small().conv1(noise())[1:].float(), atol=0.05, rtol=0)
    for ask in (lambda: evidence.gradients[layer], lambda: layer in evidence.gradients):
        with pytest.raises(NotApplicable, match=r"a part of which is quantised .*take a method without gradients"):
            ask()
    gone = ablate_channels(Classifier(network), layer, noise(1).float(), 3)[0]
    torch.testing.assert_close(gone[4], small()[1:](torch.zeros(1, 4, 6, 6).double())[0].float(), atol=0.05, rtol=0)


def test_a_layer_that_is_not_there_is_told_of_those_that_are():
    network = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), pool=nn.AvgPool2d(2)))
    assert find_module(network, "body.0") is network.body[0]
    shared = nn.Sequential(OrderedDict(one=network.body, other=network.body))
    assert find_module(shared, "other") is network.body
    for name in ("body.2", "head", "", "body..0"):
        with pytest.raises(UnknownName, match=r"known: body, body\.0, body\.1, pool"):
            find_module(network, name)
