"""Names of a file's classes, and the choice of its rows for the classes of a data set, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.weights.project import Project

_COCO = (
    (1, "person"), (2, "bicycle"), (3, "car"), (4, "motorcycle"), (5, "airplane"), (6, "bus"), (7, "train"),
    (8, "truck"), (9, "boat"), (10, "traffic light"), (11, "fire hydrant"), (13, "stop sign"), (14, "parking meter"),
    (15, "bench"), (16, "bird"), (17, "cat"), (18, "dog"), (19, "horse"), (20, "sheep"), (21, "cow"), (22, "elephant"),
    (23, "bear"), (24, "zebra"), (25, "giraffe"), (27, "backpack"), (28, "umbrella"), (31, "handbag"), (32, "tie"),
    (33, "suitcase"), (34, "frisbee"), (35, "skis"), (36, "snowboard"), (37, "sports ball"), (38, "kite"),
    (39, "baseball bat"), (40, "baseball glove"), (41, "skateboard"), (42, "surfboard"), (43, "tennis racket"),
    (44, "bottle"), (46, "wine glass"), (47, "cup"), (48, "fork"), (49, "knife"), (50, "spoon"), (51, "bowl"),
    (52, "banana"), (53, "apple"), (54, "sandwich"), (55, "orange"), (56, "broccoli"), (57, "carrot"), (58, "hot dog"),
    (59, "pizza"), (60, "donut"), (61, "cake"), (62, "chair"), (63, "couch"), (64, "potted plant"), (65, "bed"),
    (67, "dining table"), (70, "toilet"), (72, "tv"), (73, "laptop"), (74, "mouse"), (75, "remote"), (76, "keyboard"),
    (77, "cell phone"), (78, "microwave"), (79, "oven"), (80, "toaster"), (81, "sink"), (82, "refrigerator"),
    (84, "book"), (85, "clock"), (86, "vase"), (87, "scissors"), (88, "teddy bear"), (89, "hair drier"),
    (90, "toothbrush"),
)  # fmt: skip
"""Categories of COCO's instances_val2017.json."""

COCO_NAMES: Mapping[int, str] = dict(_COCO)
"""Names of the 80 classes by COCO id, ascending."""

_TORCHVISION_ROWS = 91
_OTHER_ROWS = 81

BACKGROUND_NAME, NO_CLASS = "__background__", "N/A"
"""Names in torchvision's own lists (``weights.meta["categories"]``)."""

CLASS_LAYERS = ("class-predict", "box-predict", "mask_fcn_logits")
"""Layers with a row for each class."""


def class_names_of(
    path: str, project: Project, num_classes: int, *, given: Sequence[str] | None, config: Sequence[str] | None
) -> tuple[str | None, ...] | None:
    """Return the names of a detector's rows, in the order of this network.

    Args:
        path: of the file, for messages.
        project: whose names its tensors have.
        num_classes: rows with the background, which is row 0 here.
        given: value of ``checkpointClassNames``, without the background or with `BACKGROUND_NAME` first, and with
            `NO_CLASS` for rows without a class, as torchvision lists them; None if absent.
        config: names in the model's own config, without the background; None if there are none.

    Returns:
        ``num_classes`` names, None for the background and for rows without a class; None if the names are
        unknown: neither given nor in the config, and the number isn't that of COCO.

    Raises:
        InvalidInput: another number of names is given.
    """
    foreground = num_classes - 1
    if given is not None:
        names = given[1:] if given and given[0] == BACKGROUND_NAME else given
        if len(names) != foreground:
            raise InvalidInput(
                f"checkpointClassNames: {len(names)} names, but {path} has {foreground} classes without the background"
            )
        return (None, *(None if name == NO_CLASS else name for name in names))
    if config is not None and len(config) == foreground:
        return (None, *config)
    if project is Project.TORCHVISION and num_classes == _TORCHVISION_ROWS:
        return tuple(COCO_NAMES.get(row) for row in range(_TORCHVISION_ROWS))
    if project is not Project.TORCHVISION and num_classes == _OTHER_ROWS:
        return (None, *COCO_NAMES.values())
    return None


def coco_ids_of(names: Sequence[str | None]) -> tuple[int, ...] | None:
    """Return the COCO id of each row but the background's, None unless all named rows are COCO's 80 classes.

    Args:
        names: the result of `class_names_of`.
    """
    ids = {name: number for number, name in COCO_NAMES.items()}
    found = [name for name in names if name is not None]
    return tuple(ids[name] for name in found) if sorted(found) == sorted(ids) else None


def rows_for(
    names: Sequence[str | None] | None, data_names: Sequence[str], mapping: Mapping[str, str]
) -> tuple[int | None, ...]:
    """Return the file's row for each class of a data set, by name.

    Args:
        names: of the file's rows, see `class_names_of`; None if they are unknown.
        data_names: of the data set's classes, without the background, in the order of its model ids from 1; "" if
            unknown.
        mapping: ``classMapping``, the data's name by the file's; a class of the file that it names isn't used under
            its own name.

    Returns:
        For the background and each class of the data the row in the file, or None if its weights are new. The
        background keeps its row, 0.

    Raises:
        InvalidInput: a name in the mapping is unknown in the file or in the data, two classes of the file would become
            one, or the file has two rows of a name that is needed.
    """
    known = [name for name in names or () if name is not None]
    _check_mapping(known, names is None, data_names, mapping)
    rows: dict[str, int] = {}
    for row, name in enumerate(names or ()):
        if name is None:
            continue
        becomes = mapping.get(name, name)
        if name not in mapping and becomes in mapping.values():
            continue
        if becomes in rows and becomes in data_names:
            raise InvalidInput(
                f"checkpoint: rows {rows[becomes]} and {row} of the file are both of the class {shown(name)}: give "
                "other names with checkpointClassNames"
            )
        rows[becomes] = row
    return (0, *(rows.get(name) if name else None for name in data_names))


def _check_mapping(known: Sequence[str], unnamed: bool, data_names: Sequence[str], mapping: Mapping[str, str]) -> None:
    if mapping and unnamed:
        raise InvalidInput(
            "classMapping: the names of the file's classes are unknown; give them with checkpointClassNames"
        )
    for name, data_name in mapping.items():
        if name not in known:
            raise InvalidInput(f"classMapping: {shown(name)} is not a class of the file, which has {shown(known, 200)}")
        if data_name not in data_names:
            raise InvalidInput(
                f"classMapping.{name}: {shown(data_name)} is not a class of the data set, which has "
                f"{shown(list(data_names), 200)}"
            )
    for data_name, count in Counter(mapping.values()).items():
        if count > 1:
            both = [name for name, value in mapping.items() if value == data_name]
            raise InvalidInput(
                f"classMapping: {' and '.join(map(shown, both))} both become {shown(data_name)}; give one of them"
            )


def take_rows(
    variable: str, file: NDArray[np.float32], initial: NDArray[np.float32], rows: Sequence[int | None]
) -> NDArray[np.float32]:
    """Return a class layer's variable for a data set: the file's rows where there are some, else the initial values.

    Args:
        variable: kernel or bias of one of `CLASS_LAYERS`, such as ``box-predict/kernel``; classes are its last axis,
            with four values each for boxes.
        file: the value in the file, in this network's layout.
        initial: the value of the new network.
        rows: the result of `rows_for`; as many as the new network has classes.

    Raises:
        ValueError: it isn't such a variable, or the number of classes differs from that of ``rows``.
    """
    layer = variable.partition("/")[0]
    if layer not in CLASS_LAYERS:
        raise ValueError(f"{variable} has no rows of classes")
    each = 4 if layer == "box-predict" else 1
    if initial.shape[-1] != each * len(rows):
        raise ValueError(f"{variable} has {initial.shape[-1]} outputs, but there are {len(rows)} classes")
    result = np.array(initial, np.float32)
    for new, old in enumerate(rows):
        if old is not None:
            result[..., each * new : each * (new + 1)] = file[..., each * old : each * (old + 1)]
    return result
