"""Training, evaluation, pruning, inference and export of Mask R-CNN models."""
