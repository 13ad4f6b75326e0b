"""Conversion of COCO images and annotations to TFRecord shards."""

from __future__ import annotations

from maskrcnn_trainer.conversion.dataset import ConversionSummary, convert_dataset

__all__ = ["ConversionSummary", "convert_dataset"]
