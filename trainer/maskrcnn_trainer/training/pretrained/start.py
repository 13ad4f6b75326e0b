"""File of ``checkpoint``, opened before the network is built: the model in it may determine the architecture."""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.model.contradictions import refuse_contradictions
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.training.pretrained.keras_hdf5 import MAGIC as HDF5_MAGIC
from maskrcnn_trainer.training.pretrained.keras_hdf5 import read_hdf5
from maskrcnn_trainer.training.pretrained.model_file import read_our_model, source_of
from maskrcnn_trainer.training.pretrained.source import Source
from maskrcnn_trainer.training.pretrained.tf_checkpoint import read_original_tlt, read_tf_checkpoint
from maskrcnn_trainer.training.pretrained.torch_names import convert_torch
from maskrcnn_trainer.weights.file import form_of, read_weight_file
from maskrcnn_trainer.weights.opening import (
    DetectorOptions,
    OpenedBackbone,
    OpenedDetector,
    open_caffe2_backbone,
    open_detector,
)
from maskrcnn_trainer.weights.project import Project, project_of
from maskrcnn_trainer.weights.style import Style

# Last eight bytes of a table file, which is the format of a TensorFlow checkpoint's index.
_TABLE_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)


@dataclass(frozen=True)
class Start:
    """File that a training starts from.

    Attributes:
        path: of the file, for messages.
        source_for: returns the file's variables for the architecture of a network.
        architecture: that absent fields of the spec follow; None if the file determines none.
        contradictions_refused: whether a field of the spec that contradicts ``architecture`` is an error; otherwise the
            weights are loaded with a remark, or their shapes differ.
        of_backbone: ``architecture`` is known for the backbone only, and has the defaults for the rest.
        class_names: name of each class of the file, None for the background and where it is unknown; None if the file
            has no class layers or no name is known.
        style: of a detector of another project.
    """

    path: str
    source_for: Callable[[Architecture], Source]
    architecture: Architecture | None = None
    contradictions_refused: bool = False
    of_backbone: bool = False
    class_names: tuple[str | None, ...] | None = None
    style: Style | None = None

    def check_agrees(self, spec: ExperimentSpec) -> None:
        """Check that no field of a spec contradicts the file's model; the number of classes may differ.

        Raises:
            InvalidInput: a field does; the message names all of them.
        """
        if self.architecture is None or not self.contradictions_refused:
            return
        theirs = self.architecture
        if self.of_backbone:
            ours = replace(Architecture.from_spec(spec), nlayers=theirs.nlayers, arch=theirs.arch)
        else:
            ours = replace(theirs, num_classes=spec.data_config.num_classes)
        refuse_contradictions(f"checkpoint: {self.path}", ours.contradictions(spec))


def open_start(path: Path, *, key: str | None = None, options: DetectorOptions | None = None) -> Start:
    """Open a file of any kind, recognized by its content and not by its suffix.

    The kinds are a Keras HDF5 file; ``.safetensors``, ``.npz``, ``.pth``, or ``.pkl`` with a detector of torchvision,
    Detectron2, or MMDetection, or with a backbone under the names of torchvision, timm, or Caffe2; a model file of this
    trainer; an unencrypted ``.tlt`` of TAO Toolkit; or a TensorFlow checkpoint (its prefix, one of its files, or its
    directory). No code in a file is executed.

    Args:
        path: of the file.
        key: encryption key of a model file.
        options: what the spec gives with a detector.

    Raises:
        InvalidInput: the file is missing, damaged, encrypted, or of an unknown kind, or its detector cannot be used.
    """
    options = options or DetectorOptions()
    start = _open(path, key, options)
    if start.style is not None or not (given := options.given):
        return start
    verb = "has" if len(given) == 1 else "have"
    note = f"{', '.join(given)} {verb} no effect: {path} is not a detector of torchvision, Detectron2, or MMDetection"

    def with_note(architecture: Architecture) -> Source:
        source = start.source_for(architecture)
        return replace(source, notes=(*source.notes, note))

    return replace(start, source_for=with_note)


def _open(path: Path, key: str | None, options: DetectorOptions) -> Start:
    from maskrcnn_trainer.model_files.model_file import is_model_file

    prefix = _tf_prefix(path)
    if prefix is not None:
        return Start(str(path), lambda _: read_tf_checkpoint(prefix, str(path)))
    if not path.is_file():
        problem = "is a pipe, a socket, or a device; give a plain file" if path.exists() else "does not exist"
        raise InvalidInput(f"checkpoint: {path} {problem}")
    if is_model_file(path):
        return _our_model(path, key)
    with path.open("rb") as stream:
        head = stream.read(len(HDF5_MAGIC))
    if head == HDF5_MAGIC:
        return Start(str(path), lambda _: read_hdf5(path))
    if form_of(path) is not None:
        return _other_project(path, options)
    if zipfile.is_zipfile(path):
        return Start(str(path), lambda _: read_original_tlt(path))
    if not head:
        raise InvalidInput(f"checkpoint: {path} is an empty file")
    if head.startswith(b"PK"):
        raise InvalidInput(
            f"checkpoint: {path} begins as a zip archive but is not complete: the file is damaged or cut off"
        )
    raise InvalidInput(
        f"checkpoint: {path} is not a Keras .hdf5, .safetensors, .npz, .pth, .pkl, .tlt, or TensorFlow checkpoint. "
        "If it is a .tlt that TAO Toolkit encrypted, it cannot be read here: save it unencrypted with that toolkit "
        "(its releases since 5.0 do so), or start from the pretrained .hdf5"
    )


def _our_model(path: Path, key: str | None) -> Start:
    model = read_our_model(path, key)
    theirs = architecture_of(model)
    names = class_map_of(model).names
    return Start(
        str(path),
        lambda architecture: source_of(model, architecture),
        theirs,
        class_names=(None, *(name or None for name in names)) if any(names) else None,
    )


def _other_project(path: Path, options: DetectorOptions) -> Start:
    file = read_weight_file(path)
    project = project_of(file)
    if project.is_detector:
        detector = open_detector(file, project, options)
        return Start(
            str(path),
            lambda _: _source_of_detector(detector),
            detector.architecture,
            contradictions_refused=True,
            class_names=detector.class_names,
            style=detector.style,
        )
    if project is Project.DETECTRON2_BACKBONE:
        backbone = open_caffe2_backbone(file)
        settings = Architecture(nlayers=backbone.nlayers, arch=backbone.arch, batch_norm_epsilon=backbone.epsilon)
        return Start(
            str(path),
            lambda _: _source_of_backbone(backbone),
            settings,
            contradictions_refused=True,
            of_backbone=True,
        )

    def converted(architecture: Architecture) -> Source:
        source = convert_torch(file.tensors, architecture, str(path))
        return replace(source, notes=(*file.notes, *source.notes))

    return Start(str(path), converted)


def _source_of_detector(detector: OpenedDetector) -> Source:
    what = "Mask R-CNN" if detector.has_masks else "Faster R-CNN"
    return Source(f"{what} of {detector.style.project}", detector.values, detector.notes, detector.ignored)


def _source_of_backbone(backbone: OpenedBackbone) -> Source:
    kind = f"{BACKBONES[backbone.arch].title}-{backbone.nlayers} of {Project.DETECTRON2}"
    return Source(kind, backbone.values, backbone.notes, backbone.ignored)


def _tf_prefix(path: Path) -> str | None:
    """Return the prefix of the TensorFlow checkpoint at a path, None if it isn't one."""
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        if latest is None:
            raise InvalidInput(f"checkpoint: {path} is a directory without a TensorFlow checkpoint")
        return str(latest)
    if Path(f"{path}.index").is_file():
        return str(path)
    part = re.fullmatch(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})", str(path))
    if part and Path(f"{part[1]}.index").is_file():
        return part[1]
    if path.is_file() and path.stat().st_size > 48:
        with path.open("rb") as stream:
            stream.seek(-8, 2)
            if stream.read() == _TABLE_MAGIC:
                return str(path)
    return None
