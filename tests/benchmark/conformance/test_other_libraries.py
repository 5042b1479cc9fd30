"""What the checks say of other libraries' methods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate, namesake
from camfaith.benchmark.conformance.of_methods.defects import KNOWN_DEFECTS
from camfaith.methods.adapters import LIBRARIES

BY_NAME = {check.name: check for check in CHECKS}


@pytest.mark.parametrize(
    ("check", "method"), [(defect.check, method) for defect in KNOWN_DEFECTS for method in defect.methods]
)
def test_known_defects_of_other_libraries_are_found(check, method):
    module = LIBRARIES[method.partition(":")[0]].module
    pytest.importorskip(module, reason="needs other libraries; pip install 'camfaith[peers]'")
    assert BY_NAME[check].of(Candidate(method)).outcome == "failed"


def test_ablation_far_below_zero_is_seen_at_the_layer_behind():
    pytest.importorskip("pytorch_grad_cam", reason="needs another library; pip install 'camfaith[peers]'")
    assert BY_NAME["in-range"].of(Candidate("pgc:AblationCAM")).seen.startswith("layer 'relu2' is given values up to ")


@pytest.mark.parametrize("method", ["pgc:GradCAM", "pgc:HiResCAM", "torchcam:GradCAM", "torchcam:LayerCAM"])
def test_where_other_libraries_are_right_they_are_like_ours(method):
    module = LIBRARIES[method.partition(":")[0]].module
    pytest.importorskip(module, reason="needs other libraries; pip install 'camfaith[peers]'")
    relu = replace(BY_NAME["like"], trials=[trial for trial in BY_NAME["like"].trials if trial.seed % 2 == 0])
    assert relu(method).outcome == "passed", relu(method).seen


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pgc:GradCAMPlusPlus", "gradcam++"),
        ("torchcam:GradCAMpp", "gradcam++"),
        ("pgc:KPCA_CAM", "kpca-cam"),
        ("pgc:GradCAMElementWise", "elementwise"),
        ("torchcam:CAM", "cam"),
        ("torchcam:LeGrad", {"name": "legrad", "layers": 1}),
        ("pgc:FEM", None),
        ("mypackage:GradCAM", None),
    ],
)
def test_another_librarys_method_is_compared_with_the_one_of_its_name(theirs, ours):
    assert namesake(theirs) == ours


def test_other_libraries_methods_stand_in_the_same_table(small_suite, counting, tmp_path):
    for name in ("pytorch_grad_cam", "torchcam"):
        pytest.importorskip(name, reason="needs other libraries; pip install 'camfaith[peers]'")
    names = ["hirescam", "pgc:HiResCAM", "torchcam:LayerCAM"]
    small_suite["suite"] |= {"methods": names, "metrics": ["energy-pointing-game"]}
    small_suite["dataset"][0]["limit"] = 2
    from camfaith.models import Classifier

    result = run(small_suite, models=[Classifier(counting.inner, name="tiny", layer="body")], out=tmp_path / "run")
    assert set(result.scores["method"]) == set(names)
    assert (result.scores["status"] != "error").all(), result.scores["error"].dropna().tolist()
