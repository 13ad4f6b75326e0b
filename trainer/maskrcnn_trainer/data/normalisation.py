"""The numbers by which pixels become the network's input, for code with and without TensorFlow."""

from __future__ import annotations

MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet images, RGB of 0..1."""

STD = 0.224
"""One deviation for the three channels: inference runtimes such as DeepStream take one scale factor."""
