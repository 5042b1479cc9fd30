"""What is explained: a classifier, and what one forward and one backward show of it."""

from camfaith.models.capture import Evidence, LayerError
from camfaith.models.classifier import Classifier
from camfaith.models.layers import survey, target_layer
from camfaith.models.loading import load
from camfaith.models.lookup import UnknownName

__all__ = ["Classifier", "Evidence", "LayerError", "UnknownName", "load", "survey", "target_layer"]
