"""Detection with a trained model of any kind (``.tlt``, ONNX, TensorRT engine) through one interface."""

from maskrcnn_trainer.detector.interface import Detections, Detector
from maskrcnn_trainer.detector.opening import open_detector

__all__ = ["Detections", "Detector", "open_detector"]
