"""The formulas of the metrics, called on their own."""

import doctest
import importlib
import pkgutil

import pytest
import torch

from camfaith import metrics
from camfaith.metrics import functional

MODULES = [found.name for found in pkgutil.iter_modules(metrics.__path__, "camfaith.metrics.") if not found.ispkg]


def eighths(*shape):
    """Random numbers that every precision holds exactly."""
    return torch.randint(1, 9, shape, generator=torch.Generator().manual_seed(sum(shape))) / 8


MAPS, OTHERS, MASKS = eighths(2, 12, 12) - 0.5, eighths(2, 3, 12, 12), eighths(2, 12, 12) > 0.7
SCORES, MORE, FRACTIONS = eighths(2, 5), eighths(2, 5).flip(0), torch.arange(5) / 4
ONE, TWO, THREE = SCORES.unbind(1)[:3]
SUBSETS = torch.rand(4, 5, 144, generator=torch.Generator().manual_seed(0)).argsort(2).view(4, 5, 12, 12) < 20
ARGUMENTS = {
    "auc": (SCORES, FRACTIONS),
    "aopc": (SCORES,),
    "pixel_flipping": (SCORES,),
    "abpc": (SCORES, MORE, FRACTIONS),
    "road": (SCORES, MORE),
    "irof": (SCORES, FRACTIONS.expand(2, -1)),
    "drift": (SCORES, MORE),
    "class_kept": (eighths(2, 4, 3), torch.tensor([2, 0]), FRACTIONS[1:].expand(2, -1)),
    "average_drop": (ONE, TWO),
    "signed_removal": (MAPS, ONE, TWO, THREE),
    "faithfulness_correlation": (MAPS, SUBSETS[0], SCORES),
    "sensitivity_n": (MAPS, SUBSETS, torch.stack([SCORES, MORE, SCORES + MORE, SCORES - MORE], 1)),
    "infidelity": (MAPS, eighths(5, 12, 12) - 0.5, SCORES),
    "conservation": (MAPS, ONE, TWO),
    "channel_sensitivity": (SCORES, MORE),
    "display_steps": (MAPS[:, :4, :4], MAPS, MAPS, ONE),
    "energy_pointing_game": (MAPS, MASKS),
    "pointing_game": (MAPS, MASKS, 1.0),
    "share_in": (MAPS.abs(), MASKS),
    "several_objects": (MAPS, MASKS),
    "corner_artifact": (MAPS, SUBSETS[:2, :4], SCORES),
    "sparseness": (MAPS,),
    "max_sensitivity": (MAPS, OTHERS),
    "shift_equivariance": (MAPS, OTHERS, [(1, 1), (1, -1), (-1, 1)]),
    "coherency": (MAPS, OTHERS[:, 0]),
    "random_logit": (MAPS, OTHERS[:, 0]),
    "agreement": (OTHERS, [True, False]),
    "pearson": (SCORES, MORE),
    "spearman": (MAPS, OTHERS[:, 0]),
    "ssim": (MAPS, OTHERS[:, 0]),
    "top_k": (MAPS, OTHERS[:, 0]),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_a_docstring_shows_is_what_comes_out(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def test_every_formula_is_here_with_an_example():
    formulas = {name: one for name, one in vars(functional).items() if callable(one)}
    assert set(formulas) == set(ARGUMENTS)
    assert [name for name, one in formulas.items() if f"{name}(" not in one.__doc__] == []


@pytest.mark.parametrize(("name", "given"), ARGUMENTS.items(), ids=ARGUMENTS)
def test_a_formula_takes_any_precision_and_gives_double(name, given):
    def found(dtype):
        made = [x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in given]
        kept = [x.clone() if isinstance(x, torch.Tensor) else x for x in made]
        columns = getattr(functional, name)(*made)
        assert all(torch.equal(x, y) for x, y in zip(made, kept, strict=True) if isinstance(x, torch.Tensor))
        return columns if isinstance(columns, dict) else {name: columns}

    exact = found(torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        torch.testing.assert_close(found(dtype), exact, rtol=0, atol=0, equal_nan=True)
    assert {value.dtype for value in exact.values()} == {torch.float64}


def test_correlations_over_subsets_know_no_offset_and_one_size():
    maps, subsets, drops = ARGUMENTS["faithfulness_correlation"]
    expected = functional.faithfulness_correlation(maps, subsets, drops)
    torch.testing.assert_close(functional.faithfulness_correlation(maps.double() + 2.0**48, subsets, drops), expected)
    with pytest.raises(ValueError, match="must hold equally many pixels, got from 20 to 144"):
        functional.faithfulness_correlation(maps, torch.cat([subsets[:4], torch.ones(1, 12, 12).bool()]), drops)
