"""Networks of transformers: each family's target layer, and folders that load without a network or foreign code.

`python tests/models/test_huggingface.py > docs/transformers.md` writes the table of families.
"""

import json
import re
import socket
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camfaith.methods import GradCAM
from camfaith.models import Classifier, LayerError, load, target_layer

transformers = pytest.importorskip("transformers", reason="transformers is not installed (pip install '.[hf]')")

PAGE = Path(__file__).parents[2] / "docs" / "transformers.md"
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
       "patch_size": 8}  # fmt: skip
DINO = {**VIT, "mlp_ratio": 2}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 64,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
TOWER = {"vision_config": VIT, "text_config": TEXT}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 64, "patch_size": 4}
NARROW = {"hidden_sizes": [8, 16], "depths": [1, 1]}
BASIC = {**NARROW, "embedding_size": 8}
FOUR = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
HG = {"stem_channels": [3, 8, 8], "embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "stage_in_channels": [8] * 4,
      "stage_mid_channels": [4] * 4, "stage_out_channels": [8, 8, 8, 16], "stage_num_blocks": [1] * 4,
      "stage_numb_of_layers": [2] * 4}  # fmt: skip
FAMILIES = {
    "beit": VIT,
    "bit": BASIC | {"num_groups": 4},
    "clip": TOWER,
    "convnext": NARROW | {"num_stages": 2},
    "convnextv2": NARROW | {"num_stages": 2},
    "cvt": {"embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3], "mlp_ratio": [2.0] * 3},
    "data2vec-vision": VIT,
    "deit": VIT | {"architectures": ["DeiTForImageClassification"]},
    "dinov2": DINO,
    "dinov2_with_registers": DINO | {"num_register_tokens": 2},
    "donut-swin": SWIN,
    "efficientnet": {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "focalnet": NARROW | {"embed_dim": 8, "focal_levels": [1, 1], "focal_windows": [3, 3], "image_size": 64},
    "hgnet_v2": HG,
    "hiera": {"embed_dim": 8, "image_size": [64, 64], "depths": [1] * 3, "num_heads": [1] * 3, "num_query_pool": 2,
              "masked_unit_size": [4, 4], "mlp_ratio": 2.0},
    "ijepa": VIT,
    "levit": {"architectures": ["LevitForImageClassification"], "image_size": 64, "hidden_sizes": [16] * 3,
              "num_attention_heads": [2] * 3, "depths": [1] * 3, "key_dim": [8] * 3},
    "metaclip_2": TOWER,
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 4, "image_size": 64},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 4, "image_size": 64},
    "mobilevit": {"hidden_sizes": [8] * 3, "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 16], "image_size": 64,
                  "num_attention_heads": 2},
    "mobilevitv2": {"width_multiplier": 0.25, "image_size": 64},
    "perceiver": {"architectures": ["PerceiverForImageClassificationConvProcessing"], "num_latents": 4,
                  "d_latents": 16, "num_blocks": 1, "num_self_attends_per_block": 1, "num_self_attention_heads": 2,
                  "num_cross_attention_heads": 1},
    "poolformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4},
    "pvt": FOUR | {"image_size": 64},
    "pvt_v2": FOUR | {"image_size": 64},
    "regnet": BASIC | {"groups_width": 4},
    "resnet": BASIC | {"layer_type": "basic"},
    "segformer": FOUR,
    "siglip": TOWER,
    "swiftformer": {"image_size": 64, "depths": [1] * 4, "embed_dims": [8, 8, 16, 16]},
    "swin": SWIN,
    "swinv2": SWIN,
    "textnet": {"image_size": [64, 64], "stem_out_channels": 8, "hidden_sizes": [8, 8, 8, 8, 16],
                "conv_layer_kernel_sizes": [[[3, 3]]] * 4, "conv_layer_strides": [[2]] * 4},
    "vit": VIT,
    "vit_msn": VIT,
}  # fmt: skip
NO_LAYER = {"levit", "perceiver"}  # their tokens are means of all, at least untrained


def network(family: str) -> nn.Module:
    """A small one, every weight drawn: a head of zeros shows nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = transformers.AutoConfig.for_model(family, num_labels=4, **FAMILIES[family])
        made = transformers.AutoModelForImageClassification.from_config(config)
        for module in made.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
    return made.eval()


def noise(family: str) -> Tensor:
    side = FAMILIES[family].get("image_size", 32 if family in ("clip", "siglip", "metaclip_2") else 64)
    shape = (2, 3, *([side] * 2 if isinstance(side, int) else side))
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def row(family: str) -> str:
    """The family's line in the table."""
    images, classifier = noise(family), Classifier(network(family))
    try:
        layer = target_layer(classifier, images)
    except LayerError as error:
        return f"| `{family}` | none: {error} | |"
    cells = classifier.evidence(images, 1, [layer], gradients=False).activations[layer].shape[2:]
    return f"| `{family}` | `{layer}` | {images.shape[2] / cells[0]:g} |"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_transformers_has_a_layer_whose_map_shows_something(family):
    found = row(family)
    assert (found.split("|")[2].strip()[:4] == "none") is (family in NO_LAYER), found
    page = PAGE.read_text("utf-8")
    if f"transformers {transformers.__version__}" in page:
        assert found in page
    if family not in NO_LAYER:
        raw = GradCAM(network(family)).raw(noise(family), 1)
        assert raw.isfinite().all()
        assert (raw.flatten(1).std(1) > 1e-5 * raw.abs().amax()).all()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network with its image processor, saved; no address can be reached."""
    made = network("vit")
    made.config.id2label = {0: "none", 1: "mild", 2: "severe", 3: "worst"}
    made.save_pretrained(tmp_path)
    size, mean = {"height": 32, "width": 32}, [0.4, 0.5, 0.6]
    transformers.ViTImageProcessor(size=size, image_mean=mean, resample=3).save_pretrained(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a local folder asked the network"))
    return tmp_path


def picture() -> Image.Image:
    down, along = np.mgrid[0:1:60j, 0:1:90j]
    return Image.fromarray((np.stack([down, along, down * along], 2) * 255).astype(np.uint8))


def test_a_local_folder_gives_what_transformers_gives(folder):
    model = load(f"hf:{folder}")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    expected = network("vit")(**processor(picture(), return_tensors="pt")).logits
    torch.testing.assert_close(model.scores(model.prepare(picture())), expected, atol=0.02, rtol=0.02)
    assert model.class_names == ("none", "mild", "severe", "worst")
    known = (model.resize, model.crop, model.mean, model.interpolation)
    assert known == ((32, 32), None, (0.4, 0.5, 0.6), "bicubic")
    assert load(f"hf:{folder}", weights="none").scores(torch.rand(1, 3, 32, 32)).shape == (1, 4)


PROCESSORS = {
    "short side, then a crop": ("CLIP", {}, (224, 224)),
    "a share of the crop": ("ConvNext", {"size": {"shortest_edge": 224}}, (256, 224)),
    "squeezed": ("ConvNext", {"size": {"shortest_edge": 384}}, ((384, 384), None)),
    "not at all": ("ViT", {"do_resize": False}, (None, None)),
    "blue first": ("MobileViT", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}, (72, 64)),
}


@pytest.mark.parametrize("how", PROCESSORS)
def test_what_a_processor_does_is_found_by_trying_it(folder, how, monkeypatch):
    kind, settings, expected = PROCESSORS[how]
    processor = getattr(transformers, f"{kind}ImageProcessor")(**settings)
    processor.save_pretrained(folder)
    model = load(f"hf:{folder}")
    assert (model.resize, model.crop) == expected
    given, inner = [], getattr(model.network, "network", model.network)
    monkeypatch.setattr(inner, "forward", lambda images: given.append(images) or images.mean((2, 3)))
    wide = picture().resize((500, 400))
    model(model.prepare(wide)[None])
    torch.testing.assert_close(given[0], processor(wide, return_tensors="pt")["pixel_values"], atol=0.05, rtol=0)


def test_a_processor_that_does_more_is_not_followed_silently(folder):
    transformers.TextNetImageProcessor().save_pretrained(folder)
    with pytest.warns(UserWarning, match=r"image processor does is not followed; give mean, std, resize, crop"):
        assert load(f"hf:{folder}", mean=[0.5] * 3, std=[0.5] * 3).resize is None


def test_what_is_wrong_with_a_folder_is_said_in_a_line(folder, monkeypatch):
    def refused(message: str, name: str = f"hf:{folder}", error: type = ValueError, **settings: object) -> None:
        with pytest.raises(error, match=message) as found:
            load(name, **settings)
        assert "\n" not in str(found.value)

    refused("no folder './nowhere'", "hf:./nowhere", FileNotFoundError)
    refused("needs to be told its weights: 'DEFAULT'", "hf:google/vit")
    refused("needs to be told its weights: 'DEFAULT'", weights="IMAGENET1K_V1")
    weights = folder / "model.safetensors"
    config = json.loads((folder / "config.json").read_text())
    transformers.ViTModel(transformers.ViTConfig(**VIT)).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    refused(r"has no weights for classifier\.bias, classifier\.weight \(2 in all\): it was not trained to classify")
    weights.unlink()
    torch.save(network("vit").state_dict(), folder / "pytorch_model.bin")
    refused(r"cannot be made: .*safetensors")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"}))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    refused("cannot be made", weights="none")
    assert not (folder / "ran").exists()
    (folder / "config.json").write_text(json.dumps({"model_type": "imagegpt", "n_embd": 8, "n_layer": 1, "n_head": 1}))
    refused("takes input_ids, .*not images", weights="none")
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(re.escape("needs transformers: pip install 'camfaith[hf]'"))


def page() -> str:
    """`docs/transformers.md`."""
    rows = "\n".join(map(row, FAMILIES))
    return f"""# Networks of transformers

`hf:NAME` or `hf:FOLDER` loads an image classifier of [transformers](https://huggingface.co/docs/transformers)
(`pip install 'camfaith[hf]'`). Its weights are read from `.safetensors` alone, and no code that comes with it is run. A
folder needs no network; a name of the hub is fetched with `weights = "DEFAULT"`. Normalisation, size, crop and order of
colours are what its image processor does to a picture, found by trying it; where it does something else, a warning says
so.

The layer that each family gets where none is named, and the pixels that a cell is wide, on small networks with random
weights. Written by `python tests/models/test_huggingface.py > docs/transformers.md`
(transformers {transformers.__version__}).

| family | target layer | pixels |
|---|---|---|
{rows}

- Tokens that attention made of all others (`perceiver`, and `levit` before training) have no place on the image, and
  are refused: name an earlier layer.
- `hiera` keeps the tokens of its earlier stages in an order of its own: only those of the last stage lie where they
  are drawn.
- `imagegpt` and `siglip2` take no images B×3×H×W; `pp_lcnet` needs `output = "last_hidden_state"`.
"""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    print(page(), end="")
