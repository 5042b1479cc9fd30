"""A newcomer's mistakes: each is one clear line and exit code 2."""

from __future__ import annotations

import json
import re
import warnings

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from camfaith.benchmark.cli.command_line import app
from camfaith.benchmark.cli.errors import errors_in_one_line
from camfaith.models.reference import GRADES, build

OWN = """
from torch import complex64, nn

def net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
def needs(size): return net()
def fails(): return {}["weights"]
def none(): return None
def strange(): return net().to(complex64)

class Own:
    def __init__(self, model, target_layer=None, *, width: int = 3): raise KeyError("lost")
    def explain(self, evidence, classifier): ...
"""
FILES = {
    "own.py": OWN,
    "syntax.py": "def net(:\n",
    "raises.py": "import torch\ntorch.nothing\n",
    "three.txt": "none\nmild\nsevere\n",
    "heading.txt": "\n".join(["grade", *GRADES]),
    "lable.csv": "file,lable\npictures/a/1.png,1\n",
    "not.pth": "these are no weights",
    "broken.toml": "[suite\nname = 1",
}
MISTAKES = [
    # names
    ("suite.methods", ["gradcm"], "unknown method 'gradcm': did you mean 'gradcam'"),
    ("suite.methods", ["GradCAM"], "did you mean 'gradcam' or"),
    ("suite.metrics", ["deletoin"], "unknown metric 'deletoin': did you mean 'deletion'"),
    ("model.name", "resnet5O", "unknown model 'resnet5O': did you mean 'resnet50'"),
    ("dataset.name", "fundos", "unknown dataset 'fundos': did you mean 'fundus'"),
    ("suite.methods", ["{}own.py:Owm"], "unknown attribute of {}own.py 'Owm': did you mean 'Own'"),
    ("suite.methods", ["mine.py:Own"], "no Python file at mine.py"),
    ("suite.methods", ["package.not.there:Own"], "cannot import 'package.not.there:Own'"),
    ("suite.methods", ["{}syntax.py:Own"], "cannot import .*: SyntaxError: .*line 1"),
    ("model.name", "{}raises.py:net", "cannot import .*nothing.*raises.py, line 2"),
    ("suite.metrics", [{"name": "os:system", "command": "exit"}], "'os:system' is no metric: expected a class"),
    ("suite.methods", ["os:system"], "'os:system' is no method"),
    ("suite.methods", [{"name": "fused", "method": "os:system"}], "'os:system' is no method"),
    ("dataset.name", "os:listdir", "'os:listdir' is no dataset"),
    ("model.name", "os:getcwd", "'os:getcwd' is no model"),
    ("suite.methods", ["{}own.py:Own"], "KeyError: 'lost'"),
    ("model.name", "networks:", "expected 'package.module:attribute'"),
    # keys
    ("suit.name", "x", "unknown key in the suite 'suit': did you mean 'suite'"),
    ("suite.metric", ["deletion"], r"unknown key in \[suite\] 'metric': did you mean 'metrics'"),
    ("model.weight", "none", r"unknown key in \[model.0\] 'weight': did you mean 'weights'"),
    ("dataset.lmit", 3, "data set 'fundus': unknown setting 'lmit'"),
    ("suite.metrics", [{"name": "deletion", "step": 3}], "unknown setting 'step': did you mean 'steps'"),
    ("suite.methods", [{"name": "xgradcam", "epsilon": 3}], "unknown setting 'epsilon': did you mean 'eps'"),
    ("suite.methods", [{"name": "gradcam", "target_layer": "layer2"}], "unknown setting 'target_layer'"),
    ("suite.methods", [{"nam": "xgradcam"}], "key 'suite.methods.0.name' is missing"),
    # types and ranges
    ("suite.metrics", [{"name": "deletion", "steps": 4.5}], "steps must be a whole number, 1 or more; got 4.5"),
    ("suite.metrics", [{"name": "deletion", "baseline": "blakc"}], "unknown baseline 'blakc': did you mean 'black'"),
    ("suite.metrics", [{"name": "deletion", "steps": 10**6}], "steps must lie between 1 and .*pixels, 9216"),
    ("suite.methods", [{"name": "fused", "method": {"name": "gradcam++", "variant": "pg"}}], "variant must be one of"),
    ("suite.methods", [{"name": "{}own.py:Own", "width": "3"}], "width must be a whole number; got '3'"),
    ("dataset.split", "", "split must be one of train, val, test; got ''"),
    ("dataset.limit", 0, "key 'dataset.0.limit' must be a whole number, 1 or more; got 0"),
    ("suite.seed", True, "key 'suite.seed' must be a whole number, 0 or more"),
    ("suite.target", True, "key 'suite.target' must be a text"),
    ("suite.methods", "gradcam", "key 'suite.methods' must be a list"),
    ("suite.methods", [], "key 'suite.methods' must be a list, each entry a table .not empty.; got"),
    ("suite.methods", ["gradcam", "gradcam"], "'gradcam' stands twice: remove one"),
    ("suite.name", "../up", "key 'suite.name' must be a text such as"),
    ("suite.allow", ["fp4"], "one of fold, tf32, bf16, compile"),
    ("model.std", [0.2, 0, 0.2], "each entry a number above 0; got 0"),
    ("model.mean", [0.5], "mean is of length 1, std of 3: give one number for each colour"),
    ("model.resize", 0, "key 'model.0.resize': resize must be whole pixels"),
    ("model.interpolation", "cubic", "'model.0.interpolation': unknown interpolation 'cubic': did you mean 'bicubic'"),
    # layers, targets, classes
    ("model.layer", "layer9", "unknown layer 'layer9': did you mean 'layer"),
    ("suite.methods", [{"name": "gradcam", "layer": "head"}], "layer 'head' has no spatial output"),
    ("suite.target", "drusen", "unknown target 'drusen'.*moderate"),
    ("suite.target", 7, "class index out of range: expected 0 to 4, got .7"),
    ("model.classes", "{}three.txt", "3 class names, first .*, but 5 outputs"),
    ("model.classes", "{}heading.txt", "6 class names, first .'grade', .*but 5 outputs; .*no heading"),
    ("model.classes", "{}latin.txt", "class names in .*latin.txt are not in UTF-8"),
    ("model.classes", "{}nowhere.txt", "class names in .*nowhere.txt cannot be read: No such file"),
    # devices, weights, networks
    ("suite.device", "os:system", "must be a text such as auto, cpu, cuda"),
    ("suite.device", "gpu", "device 'gpu' is not there"),
    ("suite.device", "cuda:77", "device 'cuda:77' is not there"),
    ("model.weights", "{}nowhere.pth", "no weights file at .*nowhere.pth"),
    ("model.weights", "{}not.pth", "not.pth cannot be read, or is no plain state dict"),
    ("model.weights", "{}vgg.pth", "vgg.pth does not fit 'fundus-resnet': missing"),
    ("model.weights", "{}complex.pth", "complex.pth holds complex weights"),
    ("model.weights", "best", "expected a .safetensors, .pth or .pt file or 'none', got 'best'"),
    ("model.name", "resnet18", "needs to be told its weights"),
    ("model.name", "{}own.py:needs", "needs arguments .*'size'"),
    ("model.name", "{}own.py:fails", "cannot be made: KeyError: 'weights' .own.py, line 6"),
    ("model.name", "{}own.py:none", "returned a NoneType; expected a torch.nn.Module"),
    ("model.name", "{}own.py:strange", "weights of .* are complex in '0.weight'"),
    # folders and tables
    ("dataset", {"name": "folder"}, "data set 'folder': missing a required argument: 'root'"),
    ("dataset", {"name": "folder", "root": "{}nowhere"}, "no folder at .*nowhere"),
    ("dataset", {"name": "folder", "root": "${data}"}, "say where that is with --data FOLDER"),
    ("dataset", {"name": "csv", "path": "{}nowhere.csv"}, "nowhere.csv"),
    ("dataset", {"name": "csv", "path": "{}lable.csv"}, "column 'lable' in .*: did you mean 'label'"),
    ("label", {"name": "folder", "root": "{}pictures"}, "the data set's class 'a' is none of the model's"),
]
COMMANDS = [
    (("run", "quikc"), "unknown suite 'quikc': did you mean 'quick'"),
    (("plan", "{}nowhere.toml"), "no suite file at"),
    (("plan", "{}broken.toml"), "is not valid TOML"),
    (("plan", "{}sixteen.toml"), "are not in UTF-8: save the file in that encoding"),
    (("report", "{}hollow"), "is no run folder: it holds no run.json"),
    (("add", "{}hollow", "--methods", "gradcam"), "is no run folder"),
    (("list", "metrcs"), "did you mean 'metrics'"),
    (("check", "gradcm"), "did you mean 'gradcam'"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is wrong, in files."""
    where = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (where / name).write_text(text)
    (where / "latin.txt").write_bytes("\n".join(["schön", *GRADES[1:]]).encode("latin-1"))
    (where / "sixteen.toml").write_text("[suite]", "utf-16")
    (where / "hollow").mkdir()
    (where / "pictures" / "a").mkdir(parents=True)
    Image.new("RGB", (96, 96)).save(where / "pictures" / "a" / "1.png")
    state = build("fundus-resnet").state_dict()
    torch.save(build("fundus-vgg").state_dict(), where / "vgg.pth")
    torch.save({key: value * 1j for key, value in state.items()}, where / "complex.pth")
    return where


def toml(value, folder):
    """A value as TOML has it, `{}` in it being the folder."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(inner, folder)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(toml(inner, folder) for inner in value)}]"
    return json.dumps(value.replace("{}", f"{folder}/") if isinstance(value, str) else value)


def told(*words):
    """The one line on stderr of a command that ends with exit code 2."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit), repr(done.exception)
    errors = [line for line in done.stderr.splitlines() if line and not line.startswith("warning: ")]
    assert len(errors) == 1, done.stderr
    assert "site-packages" not in errors[0]
    return errors[0]


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_a_mistake_in_a_suite_is_one_line(folder, tmp_path, key, value, message):
    content = {
        "suite": {"name": "s", "methods": ["gradcam"], "metrics": ["deletion"], "batch_size": 8},
        "model": {"name": "fundus-resnet"},
        "dataset": {"name": "fundus", "samples": 2},
    }
    table, _, name = key.partition(".")
    if table == "label":
        table, content["suite"]["target"] = "dataset", "label"
    if table == "suit":
        content["suit"] = content.pop("suite")
    if name:
        content[table][name] = value
    else:
        content[table] = value
    lines = [f"{table} = {toml(inner, folder)}" for table, inner in content.items()]
    (tmp_path / "suite.toml").write_text("\n".join(lines))
    assert re.search(message.replace("{}", ".*"), told("plan", tmp_path / "suite.toml"))


@pytest.mark.parametrize(("words", "message"), COMMANDS)
def test_a_mistaken_command_is_one_line(folder, words, message):
    assert re.search(message, told(*(word.replace("{}", f"{folder}/") for word in words)))


@pytest.mark.filterwarnings("always")
def test_what_steers_a_terminal_is_not_printed(capsys):
    def told():
        with errors_in_one_line():
            warnings.warn("sample \x1b[31mred", stacklevel=1)
            raise ValueError("class \x1b]0;title\x07")

    with pytest.raises(typer.Exit):
        told()
    assert capsys.readouterr().err == "warning: sample �[31mred\nerror: class �]0;title�\n"
