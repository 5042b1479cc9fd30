"""The private parts of captum that deep-lift, lrp-epsilon and lime reach into are where they were. A failure here
explains failures in their own tests; pyproject.toml says which versions of captum were tried."""

import inspect

import pytest
from torch import nn

from camfaith.methods.deep_lift import _POOLING, _max_pooling
from camfaith.models.lookup import load_attribute

LRP_RULES, LINEAR = "captum.attr._utils.lrp_rules", "captum._utils.models.linear_model"
PARTS = {
    "captum.attr:DeepLift._can_register_hook": ["self", "module"],
    "captum.attr:DeepLift._forward_hook": ["self", "module", "inputs", "outputs"],
    "captum.attr:LRP._get_layers": ["self", "model"],
    f"{LRP_RULES}:PropagationRule.forward_hook": ["self", "module", "inputs", "outputs"],
    f"{LRP_RULES}:EpsilonRule": ["epsilon"],
    f"{LRP_RULES}:IdentityRule": ["epsilon"],
    f"{LINEAR}:SkLearnLasso": ["kwargs"],
    f"{LINEAR}:SkLearnLinearRegression": ["kwargs"],
    "captum.attr._core.lime:get_exp_kernel_similarity_function": ["distance_mode", "kernel_width"],
}


@pytest.mark.parametrize("path", PARTS)
def test_a_part_of_captum_is_there_and_is_called_as_before(path):
    assert list(inspect.signature(load_attribute(path)).parameters) == PARTS[path]


@pytest.mark.parametrize("kind", [*_POOLING, nn.ReLU])
def test_captums_rules_of_non_linear_modules_are_called_as_ours_is(kind):
    rules = load_attribute("captum.attr._core.deep_lift:SUPPORTED_NON_LINEAR")
    assert list(inspect.signature(rules[kind]).parameters)[1:] == list(inspect.signature(_max_pooling).parameters)[1:]
