"""Weights from files: found under their usual names, refused with a reason, and no code in a file is run."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_1

from camfaith.models import load
from camfaith.models.checkpoint import read_state

NETWORK = "squeezenet1_1"  # the smallest of torchvision's
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(9)
        return squeezenet1_1(weights=None).state_dict()


def same(found: nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_are_read_from_a_local_file(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    found = load(NETWORK, weights=path, mean=(0.5,) * 3, std=(0.2,) * 3, resize=72, crop=64)
    assert same(found.network, state)
    assert (found.mean, found.std, found.resize, found.crop) == ((0.5,) * 3, (0.2,) * 3, 72, 64)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_holds_its_state_dict_under_a_usual_name(tmp_path, state, key, prefix):
    torch.save({"epoch": 3, key: {prefix + name: value for name, value in state.items()}}, tmp_path / "a.pth")
    assert same(load(NETWORK, weights=tmp_path / "a.pth", **PLAIN).network, state)


def test_a_part_named_module_keeps_its_name(tmp_path):
    torch.save({"module.weight": torch.ones(1), "head.weight": torch.ones(1)}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == {"module.weight", "head.weight"}


class Payload:
    """Would make a folder if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain", [False, True])
def test_code_in_a_weights_file_is_refused_and_not_run(tmp_path, plain):
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    if plain:
        path.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    else:
        torch.save({"state_dict": Payload(trace)}, path)
    with pytest.raises(ValueError, match=r"no plain state dict.*code in a file is not run"):
        load(NETWORK, weights=path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"weight": "text"}, torch.ones(2)])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no state dict"):
        load(NETWORK, weights=tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("cut", [None, 0, 2000])
def test_a_file_that_is_cut_off_or_no_weights_at_all_is_refused(tmp_path, state, suffix, cut):
    path = tmp_path / f"a{suffix}"
    (torch.save if suffix == ".pth" else save_file)(state, path)
    path.write_bytes(b"<html>404: not found</html>" * 4 if cut is None else path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.(pth|safetensors) cannot be read"):
        load(NETWORK, weights=path)


def test_weights_that_do_not_fit_are_named(tmp_path, state):
    torch.save({f"x.{name}": value for name, value in state.items()}, tmp_path / "names.pth")
    with pytest.raises(ValueError, match=rf"does not fit.*missing \['features.0.weight'.*\({len(state)} in all\)"):
        load(NETWORK, weights=tmp_path / "names.pth")
    torch.save(squeezenet1_1(weights=None, num_classes=7).state_dict(), tmp_path / "shapes.pth")
    with pytest.raises(ValueError, match=r"does not fit.*\s.*size mismatch"):
        load(NETWORK, weights=tmp_path / "shapes.pth")


def test_weights_that_are_not_numbers_are_named(tmp_path, state):
    bad = {name: value.clone() for name, value in state.items()}
    bad["features.3.squeeze.weight"][0, 0] = torch.nan
    torch.save(bad, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"hold 1 NaN or infinite values in 'features.3.squeeze.weight'"):
        load(NETWORK, weights=tmp_path / "a.pth")
