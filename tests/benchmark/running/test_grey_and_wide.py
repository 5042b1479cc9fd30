"""Suites on networks that take grey, and on pictures of more than 8 bits."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from camfaith.benchmark import add, run
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models import Classifier

METHODS = ["gradcam", "integrated-gradients", "sobel", "random"]
METRICS = [{"name": "deletion", "steps": 4}, {"name": "infidelity", "samples": 4}, "road", "max-sensitivity"]


def network(channels):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    return Classifier(nn.Sequential(*layers).eval(), name="net", resize=(16, 20))


@pytest.fixture
def scans(tmp_path):
    """A suite on three scans of 12 bits in files of 16."""
    (tmp_path / "scans").mkdir()
    for index in range(3):
        scan = np.random.default_rng(index).integers(0, 4096, (24, 24), dtype=np.uint16)
        Image.fromarray(scan).save(tmp_path / "scans" / f"{index}.png")
    return {
        "suite": {"name": "scans", "methods": METHODS, "metrics": METRICS, "batch_size": 8},
        "model": [{"name": "net"}],
        "dataset": [{"name": "folder", "root": str(tmp_path / "scans"), "white": 4095}],
    }


def values(result):
    return result.scores.sort_values(["sample", "method", "metric", "column"])["value"].to_numpy()


LEVELS = """from camfaith.metrics import Metric


class Levels(Metric):
    name, main, better = "levels", "levels", {"levels": "higher"}

    def judge(self, case, maps, answers):
        return {"levels": maps.raw.new_tensor([len(image.unique()) for image in case.images]).double()}
"""


@pytest.mark.filterwarnings("error:a picture of 16 bits")
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_judged_later_sees_every_level_that_was_judged_before(scans, tmp_path, channels):
    (tmp_path / "levels.py").write_text(LEVELS)
    later = [*METRICS[1:], {"name": f"{tmp_path / 'levels.py'}:Levels", "label": "levels"}]
    scans["suite"] |= {"metrics": [METRICS[0], *later]}
    at_once = run(scans, models=[network(channels)], out=tmp_path / "at once")
    assert not (at_once.scores["status"] == "error").any()
    assert (at_once.scores.query("column == 'auc'")["status"] == "ok").all()
    assert (at_once.scores.query("column == 'levels'")["value"] > 256).all()
    scans["suite"] |= {"metrics": METRICS[:1]}
    grown = run(scans, models=[network(channels)], out=tmp_path / "grown")
    for metrics in (later[:-1], later[-1:]):  # the last asks no network: it sees what the folder keeps
        grown = add(grown, metrics=metrics, models=[network(channels)])
    np.testing.assert_array_equal(values(grown), values(at_once))


def test_a_network_of_other_channels_is_refused_by_their_number(scans, tmp_path):
    with pytest.raises(SuiteError, match="'net' takes images of 4 channels; a picture has 3"):
        run(scans, models=[network(4)], out=tmp_path / "run")
