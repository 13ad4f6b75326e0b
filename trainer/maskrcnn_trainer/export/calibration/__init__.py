"""INT8 calibration: ranges of activations over a set of images."""
