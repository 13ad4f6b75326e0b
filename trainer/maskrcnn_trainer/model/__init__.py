"""The network: its layers, proposals, RoIAlign, detections, and inference."""
