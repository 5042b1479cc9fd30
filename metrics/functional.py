"""The formulas of the metrics, on tensors: no model, no classes.

They take stacks over B images, of any real dtype and on any device, and give float64 there: B values, or columns of B
values by name, NaN where one is not defined. Scores f are the class's probabilities or logits. The metrics ask the
model, and call these.

>>> from camfaith.metrics import functional
>>> functional.auc(torch.tensor([[0.9, 0.3, 0.1]]), torch.tensor([0.0, 0.5, 1.0]))
tensor([0.4000], dtype=torch.float64)
"""

# isort: off
# Curves along the order of a map's pixels.
from camfaith.metrics.curves import auc as auc
from camfaith.metrics.morf import aopc as aopc, abpc as abpc, pixel_flipping as pixel_flipping
from camfaith.metrics.road import road as road
from camfaith.metrics.irof import irof as irof, class_kept as class_kept
from camfaith.metrics.drift import drift as drift

# What a map shows or hides, and what the score makes of it.
from camfaith.metrics.masking import average_drop as average_drop
from camfaith.metrics.signs import signed_removal as signed_removal

# What a map predicts of random changes.
from camfaith.metrics.subsets import (
    sensitivity_n as sensitivity_n,
    faithfulness_correlation as faithfulness_correlation,
)
from camfaith.metrics.infidelity import infidelity as infidelity

# What a map adds up to.
from camfaith.metrics.axioms import conservation as conservation, channel_sensitivity as channel_sensitivity
from camfaith.metrics.axioms import display_steps as display_steps

# Where a map lies, and its shape.
from camfaith.metrics.localisation import energy_pointing_game as energy_pointing_game, pointing_game as pointing_game
from camfaith.metrics.localisation import share_in as share_in
from camfaith.metrics.objects import several_objects as several_objects
from camfaith.metrics.artifacts import corner_artifact as corner_artifact
from camfaith.metrics.shape import sparseness as sparseness

# How a map changes, and how alike two or more are.
from camfaith.metrics.coherency import coherency as coherency
from camfaith.metrics.random_logit import random_logit as random_logit
from camfaith.metrics.agreement import agreement as agreement
from camfaith.metrics.stability import max_sensitivity as max_sensitivity
from camfaith.metrics.equivariance import shift_equivariance as shift_equivariance
from camfaith.metrics.similarity import pearson as pearson, spearman as spearman, ssim as ssim, top_k as top_k
