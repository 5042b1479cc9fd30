"""Whether a metric measures faithfulness: networks whose truth is known, true maps that get worse grade by grade, and
how each metric orders the grades."""
