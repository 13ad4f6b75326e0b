"""Loading of pretrained weights from a file, see `load_checkpoint`."""

from __future__ import annotations

from maskrcnn_trainer.training.pretrained.load import load_checkpoint
from maskrcnn_trainer.training.pretrained.report import LoadReport

__all__ = ["LoadReport", "load_checkpoint"]
