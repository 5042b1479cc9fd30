"""What README and CONTRIBUTING show works as it stands there, and the page of methods tells of them all."""

from __future__ import annotations

import inspect
import io
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from camfaith import metrics
from camfaith.benchmark import check_metric, method_checks, run
from camfaith.benchmark import load as load_run
from camfaith.benchmark.claims.declaration import Claims
from camfaith.benchmark.cli.methods_page import PEERS
from camfaith.benchmark.cli.pages import PAGES
from camfaith.benchmark.suite.declaration import Suite, shipped_suites
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import open_judges
from camfaith.benchmark.validity.choosing import reported
from camfaith.methods import SHIPPED, find
from camfaith.models import Classifier

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "examples" / "studies" / "aptos2019-small.toml"


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def newcomers(tmp_path):
    """The files that CONTRIBUTING.md shows, under the names that it gives them."""
    written = {}
    for block in blocks("CONTRIBUTING.md", "python"):
        name = re.match(r'"""(\w+\.py):', block).group(1)
        (tmp_path / name).write_text(block, "utf-8")
        written[name] = tmp_path / name
    return written


def test_the_cam_and_the_metric_of_contributing_run_in_a_suite(newcomers, small_suite, counting, tmp_path):
    small_suite["suite"]["methods"] = [{"name": f"{newcomers['mycam.py']}:MaxCAM", "label": "maxcam"}, "random"]
    small_suite["suite"]["metrics"] = [
        {"name": f"{newcomers['spread.py']}:Spread", "label": "spread", "level": 0.25},
        f"{newcomers['kept.py']}:Kept",
    ]
    model = Classifier(counting.inner, name="tiny")
    result = run(small_suite, models=[model], out=tmp_path / "run")
    shares = result.scores.query("method == 'maxcam' and column == 'share'").set_index("sample")["value"]
    assert (result.scores.query("column == 'kept'")["value"] > 0).all()

    row = result.maps.query("method == 'maxcam'").iloc[0]
    picture = result.pictures.set_index("sample").loc[row["sample"]]
    image = model.prepare(Image.open(io.BytesIO(picture["image"])))
    evidence = model.evidence(image, int(picture["target"]), ["body"])
    weights = evidence.gradients["body"].amax((2, 3), keepdim=True)
    expected = torch.nn.functional.interpolate(
        (weights * evidence.activations["body"]).sum(1, keepdim=True).clamp(min=0), (32, 32), mode="bilinear"
    )
    share = (expected > 0.25 * expected.max()).double().mean()
    assert shares[row["sample"]] == pytest.approx(float(share), abs=0.01)


def test_the_metric_of_contributing_that_asks_the_model_is_right(newcomers, counting):
    spread, kind = (metrics.find(f"{newcomers[f'{name}.py']}:{name.title()}") for name in ("spread", "kept"))
    assert [(each.name, failure) for each in (spread, kind) for failure in check_metric(each).failures] == []
    images, maps, targets = torch.rand(2, 3, 32, 32), torch.rand(2, 32, 32), torch.tensor([1, 3])
    found = kind(share=0.25, baseline="black")(counting.inner, images, targets, maps)["kept"]
    top = maps >= maps.flatten(1).sort(descending=True).values[:, 255].view(2, 1, 1)
    with torch.no_grad():
        kept, whole = (counting.inner(x).softmax(1)[[0, 1], targets] for x in (images * top[:, None], images))
    torch.testing.assert_close(found, (kept / whole).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["spread", "kept"])
def test_a_metric_of_a_package_is_one_short_file_and_goes_by_its_name(
    newcomers, name, monkeypatch, small_suite, counting
):
    path = newcomers[f"{name}.py"]
    assert len(path.read_text("utf-8").splitlines()) <= 45
    point = EntryPoint(name, f"{name}:{name.title()}", "camfaith.metrics")
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.setattr("camfaith.models.lookup.entry_points", lambda group: [point] if group == point.group else [])
    small_suite["suite"] |= {"methods": ["gradcam"], "metrics": [name]}
    scores = run(small_suite, models=[Classifier(counting.inner, name="tiny")], out=path.parent / "run").scores
    assert set(scores["metric"]) == {name}
    assert set(scores["status"]) <= {"ok", "undefined"}


def test_the_python_of_the_readme_runs(monkeypatch, tmp_path, counting):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "cams.py").write_text(
        "from camfaith.methods import GradCAM\n\n\nclass MyCAM(GradCAM):\n    name = 'mine'\n"
    )
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.resnet18(weights=None).eval()
    names = {
        "model": model,
        "image": torch.rand(2, 3, 64, 64),
        "picture": torch.rand(2, 3, 64, 64),
        "network": counting.inner,
    }
    first, reading, second = blocks("README.md", "python")
    # the shipped suite in small, and nothing downloaded
    first = first.replace(
        'run("quick",', 'run("quick", limit=2, models=["fundus-vgg"], metrics=[{"name": "deletion", "steps": 4}],'
    ).replace("limit=48", "limit=3")
    second = second.replace('weights="IMAGENET1K_V2"', 'weights="none"')
    exec(compile(first + reading + second, "README.md", "exec"), names)
    assert names["heatmap"].shape == (2, 64, 64)
    assert float(names["heatmap"].max()) == 1
    assert names["raw"].shape == (2, 2, 2)
    assert (tmp_path / "paper" / "report.html").is_file()
    scores = load_run("runs/mine").scores
    assert set(scores["method"]) == {"gradcam", "mine", "random"}
    assert set(scores["metric"]) == {"deletion", "pixel-flipping"}
    assert scores["sample"].nunique() == 3


def test_the_suites_and_claims_of_the_readme_are_valid():
    content, chosen, claims, more = (tomllib.loads(block) for block in blocks("README.md", "toml"))
    suite = Suite.of(content, data="pictures")
    assert [entry.name for entry in suite.suite.methods[:2]] == ["gradcam", "gradcam++"]
    faster = Suite.of(content | {"suite": content["suite"] | more["suite"]}, data="pictures")
    assert (faster.suite.until, faster.suite.allow) == ("separated", ("bf16",))
    assert open_judges(faster.suite.metrics)[0].metric.steps == 12
    assert Claims.of(claims).claim[0].margin == 0.02
    wide = Suite.of(content | {"suite": content["suite"] | chosen}, data="pictures")
    judges = open_judges(wide.suite.metrics)
    named = {*(each.name for each in reported()), "insertion-black", "insertion-linear", "deletion-rise"}
    assert named <= {judge.label for judge in judges}
    assert len({judge.key for judge in judges}) == len(judges)  # a run refuses a metric that stands twice


@pytest.mark.parametrize(
    "path", [*(ROOT / "examples").glob("*.toml"), *SMALL.parent.glob("*.toml")], ids=lambda path: path.stem
)
def test_every_example_is_a_valid_suite(path):
    assert Suite.of(path, data="somewhere").suite.name == path.stem


@pytest.mark.parametrize("name", shipped_suites())
def test_every_shipped_suite_is_valid(name):
    assert Suite.of(name, data="somewhere").suite.name == name


@pytest.mark.parametrize(
    ("claims", "suite"),
    [("aptos2019", "aptos2019"), ("corners", "aptos2019"), ("ham10000", "ham10000"), ("corners", SMALL)],
)
def test_the_claims_that_ship_ask_for_what_their_suites_measure(claims, suite):
    asked = Suite.of(suite, data="somewhere")
    methods, metrics = (set(labels(entries)) for entries in (asked.suite.methods, asked.suite.metrics))
    for claim in Claims.of(claims).claim:
        for quantity in [*claim.quantities.values(), *([claim.scope.where] if claim.scope.where else [])]:
            assert set(quantity.of_methods) <= methods, claim.sentence
            assert quantity.metric in {*metrics, "diagnostics", None}, claim.sentence


def test_the_map_of_contributing_names_every_folder_and_its_nouns_are_where_it_says():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for package in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]:
        assert f"`{package.removeprefix('camfaith.').replace('.', '/')}/`" in text
    rows = re.findall(r"^\| .* \| (.*) \| (.*\.py`) \|$", text, re.MULTILINE)
    assert len(rows) == 18
    for nouns, files in rows:
        folder, source = ROOT, ""
        for name in re.findall(r"`(.*?)`", files):
            path = ROOT / name if "/" in name else folder / name
            folder, source = path.parent, source + path.read_text("utf-8")
        for noun in re.findall(r"`(.*?)`", nouns):
            assert re.search(rf"^(class |def )?{noun}\b", source, re.MULTILINE), noun


def test_the_tests_of_contributing_pass(newcomers, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "shape or batch",
            newcomers["test_mycam.py"],
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert "2 passed" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def methods_page():
    return (ROOT / "docs" / "methods.md").read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_reference_is_what_the_classes_say_of_themselves(name):
    kept = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert kept == PAGES[name](), f"write it anew: python -m camfaith.benchmark.cli.pages {name} > docs/{name}.md"
    assert "|  |" not in kept


@pytest.mark.parametrize("name", SHIPPED)
def test_every_method_and_every_variant_that_it_takes_is_on_the_page(methods_page, name):
    (section,) = re.findall(rf"^### `{re.escape(name)}`\n(.*?)(?=^##|\Z)", methods_page, re.DOTALL | re.MULTILINE)
    kind = find(name)
    assert kind.__doc__.strip().splitlines()[0] in section
    for setting, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert f"`{setting}={parameter.default!r}`".replace("'", '"') in section
    if "variant" in inspect.signature(kind).parameters:
        with pytest.raises(ValueError, match="variant must be one of") as error:
            kind(torch.nn.Conv2d(3, 2, 1), variant="no variant")
        taken = re.search(r"one of (.*); got", str(error.value)).group(1).split(", ")
        assert len(taken) > 1
        for variant in taken:
            assert f'"{variant}"' in section
            if variant in PEERS:
                assert f'`variant="{variant}"` with {PEERS[variant]}' in section


def test_the_page_tells_how_many_calls_a_method_makes(methods_page):
    rows = dict(re.findall(r"^\| \[`(.*?)`\]\(.*?\) \| (.*) \|$", methods_page, re.MULTILINE))
    assert set(rows) == set(SHIPPED)
    assert rows["gradcam"] == "layer | yes | yes | 1 | 1"
    assert rows["eigencam"] == "layer | no | no | 1 | 0"
    assert rows["integrated-gradients"] == "pixels | yes | no | 1 + 32 | 32"
    assert rows["scorecam"] == "layer | yes | yes | 1 + 64 | 0"
    assert rows["legrad"] == "own | yes | no | 1 + 14 | 12"


@pytest.mark.parametrize(("variant", "package"), [("pgc", "grad-cam"), ("torchcam", "torchcam")])
def test_variants_are_tried_against_the_versions_that_the_page_names(variant, package):
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed; pip install 'camfaith[peers]'")
    assert installed.startswith(PEERS[variant].rpartition(" ")[2])


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/methods.md", "docs/metrics.md", "docs/suite.md", "docs/gate.md"]
)
def test_what_is_linked_is_there(document):
    text = (ROOT / document).read_text("utf-8")
    sections = re.findall(r"^### `(.*)`$", text, re.MULTILINE)
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if target.startswith("#"):
            assert re.sub(r"-1$", "", target[1:]) in [re.sub(r"[^\w-]", "", section) for section in sections]
        else:
            assert (ROOT / document).parent.joinpath(target).exists(), target


def test_the_cam_of_contributing_is_short_and_keeps_to_the_contract(newcomers):
    path = newcomers["mycam.py"]
    assert len(path.read_text("utf-8").splitlines()) <= 25
    for each in method_checks(f"{path}:MaxCAM"):
        if each.check.name != "memory":  # which takes its time
            largest = replace(each.check, trials=each.check.trials[-1:])
            assert largest.of(each.subject).outcome != "failed", each
