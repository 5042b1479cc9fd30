"""Sentences about explanations, checked against what a run measured."""
