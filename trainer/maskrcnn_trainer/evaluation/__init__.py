"""Evaluation of models with the COCO metrics."""
