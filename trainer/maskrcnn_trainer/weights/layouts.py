"""Order of the values in the tensors of torchvision, Detectron2, and MMDetection, and in the variables of this network.

| | theirs | this network's |
|---|---|---|
| convolution | O, I, H, W | H, W, I, O |
| transposed convolution | I, O, H, W | H, W, O, I, without a flip |
| dense layer | O, I | I, O; the inputs of ``fc6`` are C, H, W in both |
| box deltas | dx dy dw dh | dy dx dh dw |
| RPN channels | 4 x anchor + coordinate | the same; the order of the anchors is that of the style |
| classes | background first (torchvision) or last | background first |

The two permutations of a kernel are one: (2, 3, 1, 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BOX_LAYERS = ("rpn-box", "box-predict")
_CORNERS = (1, 0, 3, 2)
"""Position in dx dy dw dh of dy, dx, dh, and dw."""


def in_network_layout(variable: str, tensor: NDArray[Any], *, background_last: bool) -> NDArray[np.float32]:
    """Return a tensor of another project in the layout of this network.

    Args:
        variable: the network's name of it, such as ``fc6/kernel``.
        tensor: of any floating-point type, with the number of dimensions that this layer has there.
        background_last: the class layer's last row is the background, and the layers for boxes and masks have no rows
            of it (Detectron2, MMDetection). These rows become zeros: neither training nor detection reads them.
    """
    with np.errstate(over="ignore"):  # readers refuse what is infinite then
        array = np.asarray(tensor, np.float32)
    layer = variable.partition("/")[0]
    if layer in _BOX_LAYERS:
        array = array.reshape(-1, 4, *array.shape[1:])[:, _CORNERS].reshape(array.shape)
    if background_last:
        array = _background_first(layer, array)
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
        array = array.transpose()
    return np.ascontiguousarray(array)


def _background_first(layer: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    if layer == "class-predict":
        return np.roll(array, 1, axis=0)
    added = {"box-predict": 4, "mask_fcn_logits": 1}.get(layer, 0)
    return np.concatenate([np.zeros((added, *array.shape[1:]), np.float32), array]) if added else array
