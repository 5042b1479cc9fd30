"""What a metric is given to judge by, and what becomes of what it gives."""

from dataclasses import dataclass

import pytest
import torch

from camfaith.metrics import Blank, Case, Engine, ImageProbe, Line, Maps, Metric, baseline
from camfaith.metrics.judgement import judged
from camfaith.models import Classifier

GIVEN = {}


@dataclass(frozen=True, kw_only=True)
class Vandal(Metric):
    """Notes the precision of all that it is given, then overwrites it."""

    name = main = "vandal"
    better = {}  # noqa: RUF012

    def probes(self, layer, pixels):
        return [Blank(baseline("black"))]

    def judge(self, case, maps, answers):
        (answer,) = answers.values()
        found = {
            "images": case.images,
            "logits": case.logits,
            "whole": case.whole("logit"),
            "masks": case.masks,
            "blank": case.replaced(baseline("mean")),
            "answer": answer.logit,
            **{name: getattr(maps, name) for name in ("raw", "signed", "saliency", "displayed", "ties", "ranks")},
        }
        given = {name: value.clone() for name, value in found.items()}
        for value in found.values():
            value.zero_()
        assert float(maps.raw.abs().sum() + maps.saliency.abs().sum() + case.images.sum()) == 0
        GIVEN.clear()
        GIVEN.update(given)
        return {"vandal": given["raw"].amax((1, 2)).half()}


def test_a_metric_may_write_into_all_that_it_is_given(tiny, images, noise_maps):
    pictures, maps, masks = images(2, 6).float(), noise_maps(2, 3, 3).float(), noise_maps(2, 6, 6) > 0
    kept = [each.clone() for each in (pictures, maps, masks)]
    found = Vandal()(tiny.float(), pictures, [1, 2], maps, masks=masks)["vandal"]
    assert (found.dtype, found.tolist()) == (torch.float64, maps.amax((1, 2)).half().tolist())
    case = Case.of(Classifier.of(tiny), pictures, [1, 2], masks=masks)
    own = Maps(maps, case)
    answers = Engine(Classifier.of(tiny)).answer(case, {"it": (own, Vandal().probes(None, 36))})["it"]
    first, again = [(judged(Vandal(), case, own, answers), dict(GIVEN))[1] for _ in range(2)]
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert all(torch.equal(each, before) for each, before in zip((pictures, maps, masks), kept, strict=True))
    singles = {name for name, value in GIVEN.items() if value.dtype == torch.float32}
    doubles = {name for name, value in GIVEN.items() if value.dtype == torch.float64}
    assert singles == {"images", "blank"}
    assert doubles == {"logits", "whole", "answer", "raw", "signed", "saliency", "displayed", "ties"}
    grown = torch.nn.functional.interpolate(maps[:, None], (6, 6), mode="bilinear")[:, 0]
    assert torch.equal(GIVEN["signed"], grown.double())  # enlarged as it came, and then brought to double


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (None, "must give values by column; got NoneType"),
        ({3: torch.zeros(2)}, "must name columns by text; got 3"),
        ({"a": torch.zeros(1)}, r"must give 2 values, one per image, for 'a'; got \(1,\)"),
        ({"a": 1j * torch.zeros(2)}, r"got complex \(2,\)"),
        ({"a": [0.0, 0.0]}, "got list"),
    ],
)
def test_what_is_no_number_for_each_image_is_refused(columns, complaint, tiny, images, noise_maps):
    metric = type("Own", (Metric,), {"name": "own", "judge": lambda *_: columns})()
    with pytest.raises(ValueError, match=f"^own .*{complaint}"):
        metric(tiny, images(2, 6), 0, noise_maps(2, 6, 6))


def test_a_line_of_another_shape_is_refused(case, noise_maps):
    line = Line(torch.zeros(3), torch.zeros(4, 2), "x", "y")
    own = {"name": "own", "judge": lambda *_: {}, "line": lambda *_: line}
    with pytest.raises(ValueError, match="a line needs n real x and 4×n y"):
        judged(type("Own", (Metric,), own)(), case, Maps(noise_maps(4, 9, 9), case), {})


@dataclass(frozen=True)
class Asking(ImageProbe):
    """A probe that is written well, or with one mistake."""

    mistake: str
    reads = "raw"

    def count(self, pixels):
        return 1

    def fill(self, subject):
        subject.read("ranks" if self.mistake == "reads" else "raw")
        return subject.image if self.mistake == "fill" else lambda start, stop, out: out.copy_(subject.image)


@dataclass(frozen=True, kw_only=True)
class Mistaken(Metric):
    """A metric that is written well, or with one mistake."""

    mistake: str
    name = main = "mistaken"
    better = {}  # noqa: RUF012

    def probes(self, layer, pixels):
        return [Asking(self.mistake)]

    def judge(self, case, maps, answers):
        answer = answers[Asking("of another" if self.mistake == "asked" else self.mistake)]
        found = answer.explanations if self.mistake == "maps" else answer.of("logit")
        return {"mistaken": found[:, 0] - case.whole("prob" if self.mistake == "score" else "logit")}


@pytest.mark.parametrize(
    ("mistake", "error", "told"),
    [
        ("reads", TypeError, "a probe that reads 'ranks' must say so: reads = 'ranks'; got 'raw'"),
        ("fill", TypeError, "Asking.fill must give a function .* derive from OneImage .*; got Tensor"),
        (
            "asked",
            LookupError,
            r"not ask Asking\(mistake='of another'\), but Asking\(mistake='asked'\)",
        ),
        ("maps", ValueError, "a probe that wants maps derives from Explained"),
        ("score", ValueError, "a score is 'probability' or 'logit', got 'prob'"),
    ],
)
def test_a_mistake_in_a_metric_is_named(mistake, error, told, tiny, images, noise_maps):
    given = tiny, images(2, 6), 0, noise_maps(2, 6, 6)
    assert Mistaken(mistake="none")(*given)["mistaken"].tolist() == [0, 0]
    with pytest.raises(error, match=told):
        Mistaken(mistake=mistake)(*given)
