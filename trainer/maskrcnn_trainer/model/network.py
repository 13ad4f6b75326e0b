"""Variables and layers of Mask R-CNN, as three functional models of named layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbones.layers import BackboneLayers
from maskrcnn_trainer.model.batch_norm import BatchNorm, SyncMoments
from maskrcnn_trainer.model.box_head import build_box_head
from maskrcnn_trainer.model.convolution import Convolution, Initializers
from maskrcnn_trainer.model.fpn import build_fpn
from maskrcnn_trainer.model.mask_head import build_mask_head, mask_logits_of_class
from maskrcnn_trainer.model.rpn_head import build_rpn_head, rpn_head_at_cells

DTYPES = ("float32", "mixed_float16", "mixed_bfloat16")


class MaskRCNN:
    """Mask R-CNN without its parameter-free parts (anchors, proposals, RoIAlign, detections).

    The layout is NHWC. Variables are always float32. With a mixed ``dtype``, convolutions, dense layers, and the
    element-wise layers between them run in 16 bits; batch-norm moments and all outputs of the heads are float32.

    Args:
        architecture: of the network.
        freeze_bn: batch norms use their stored statistics and do not update them.
        freeze_bn_affine: gamma and beta of the batch norms do not train.
        freeze_blocks: blocks of the backbone (see `Backbone.blocks`) whose kernels and batch norms do not train; their
            batch norms always use the stored statistics.
        dtype: ``float32``, ``mixed_float16``, or ``mixed_bfloat16``.
        sync_moments: for synchronized batch normalization, see `batch_norm.SyncMoments`.
        seed: of the initializers; equal seeds give equal values.

    Attributes:
        feature_extractor: backbone, FPN, and RPN: images [B, H, W, 3] -> {"p2": ..., "p6": ..., "rpn_logits": [B, A],
            "rpn_deltas": [B, A, 4]}.
        box_head: [R, n, n, C] -> [logits [R, K], deltas [R, K, 4]].
        mask_head: [R, 2n, 2n, C] -> logits [R, 4n, 4n, K].
        moving_average_updates: int64 variable, number of updates of the moving statistics. It is stored in checkpoints,
            so that a resumed training continues exactly, but not in model files.
        updates_moving_statistics: whether a training step updates moving statistics.
        own_statistics: moving statistics that a training step updates by the moments of this process alone; with
            several processes they must be averaged. Empty with ``sync_moments``, which gives all processes the same.

    Raises:
        InvalidInput: ``dtype`` or a block is unknown.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        freeze_bn: bool = True,
        freeze_bn_affine: bool = False,
        freeze_blocks: tuple[int, ...] = (),
        dtype: str = "float32",
        sync_moments: SyncMoments | None = None,
        seed: int = 0,
    ) -> None:
        if dtype not in DTYPES:
            raise InvalidInput(f"dtype: {dtype!r} is not one of {DTYPES}")
        frozen = _frozen_layers(architecture, freeze_blocks)
        self.architecture = architecture
        self.freeze_bn = freeze_bn
        self.freeze_blocks = tuple(freeze_blocks)
        self.dtype = dtype
        self.moving_average_updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="moving_average_updates")
        policy = keras.DTypePolicy(dtype)
        batch_norm = functools.partial(
            _batch_norm,
            policy,
            self.moving_average_updates,
            sync_moments=sync_moments,
            freeze_bn=freeze_bn,
            freeze_affine=freeze_bn_affine,
        )
        parts = _build_parts(architecture, policy, Initializers(seed), batch_norm, frozen)
        self.feature_extractor = parts.feature_extractor
        self.box_head = parts.box_head
        self.mask_head = parts.mask_head
        self._mask_convs = parts.mask_convs
        self._parts = parts.layers
        named = _named_weights(parts.layers)
        self._variables: dict[str, tf.Variable] = {name: weight.value for _, _, name, weight in named}
        self._paths = {name: f"{part}/{name}" for part, _, name, _ in named}
        self._trainable: list[tf.Variable] = [
            weight.value
            for _, layer, _, weight in named
            if layer.trainable and weight.name in ("kernel", "bias", "gamma", "beta")
        ]
        moving = [layer for layer in parts.layers["backbone"] if isinstance(layer, BatchNorm) and not layer.frozen]
        self.updates_moving_statistics = bool(moving)
        self.own_statistics: list[tf.Variable] = [
            weight.value for norm in moving if sync_moments is None for weight in norm.statistics
        ]

    @property
    def layers(self) -> dict[str, keras.layers.Layer]:
        """All layers with variables by name, in listing order."""
        return {layer.name: layer for layers in self._parts.values() for layer in layers}

    @property
    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by name (``conv1/kernel``), including moving statistics, in listing order."""
        return dict(self._variables)

    @property
    def parameter_count(self) -> int:
        """Number of all parameters, including moving statistics."""
        return sum(variable.shape.num_elements() for variable in self.variables)

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables in listing order; their TensorFlow names are like ``conv1/kernel:0``."""
        return list(self._variables.values())

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Variables that the optimizer changes, in the order of TAO Toolkit's listing."""
        return list(self._trainable)

    def variable_name(self, variable: tf.Variable | str) -> str:
        """Return the name (``conv1/kernel``) of a variable of this network.

        Args:
            variable: the variable, or its name with or without ``:0``.

        Raises:
            KeyError: the variable does not belong to this network.
        """
        name = str(variable if isinstance(variable, str) else variable.name).removesuffix(":0")
        if name not in self._variables:
            raise KeyError(name)
        return name

    def network_path(self, variable: tf.Variable | str) -> str:
        """Return a variable's name with its part of the network, such as ``backbone/conv1/kernel``.

        Parts are ``backbone``, ``fpn``, ``rpn_head``, ``box_head``, and ``mask_head``.

        Raises:
            KeyError: the variable does not belong to this network.
        """
        return self._paths[self.variable_name(variable)]

    def feature_outputs(
        self, images: tf.Tensor, training: bool = False
    ) -> tuple[dict[int, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Return feature maps and RPN outputs.

        Args:
            images: float32 [B, H, W, 3], RGB, normalized; H and W are multiples of 2^max_level.
            training: batch norms that are not frozen use the moments of the batch and update their statistics.

        Returns:
            {level: [B, H / 2^level, W / 2^level, C]} in the compute dtype, logits float32 [B, A], deltas float32
            [B, A, 4] in anchor order.
        """
        outputs = self.feature_extractor(images, training=training)
        self._count_update(training)
        features = {level: outputs[f"p{level}"] for level in self.architecture.levels}
        return features, outputs["rpn_logits"], outputs["rpn_deltas"]

    def rpn_at(self, features: dict[int, tf.Tensor], cells: dict[int, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return RPN logits float32 [N, a] and deltas float32 [N, a, 4] of some cells, see `rpn_head_at_cells`."""
        return rpn_head_at_cells(features, cells, self._parts["rpn_head"])

    def box_outputs(self, roi_features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return class logits float32 [R, K] and box deltas float32 [R, K, 4] of pooled features [R, n, n, C]."""
        logits, deltas = self.box_head(roi_features)
        return logits, deltas

    def mask_outputs(self, roi_features: tf.Tensor, class_ids: tf.Tensor | None = None) -> tf.Tensor:
        """Return mask logits.

        Args:
            roi_features: pooled features [R, 2n, 2n, C].
            class_ids: int32 [R], the class of each mask; None for all classes.

        Returns:
            float32 [R, 4n, 4n] of the given classes, computed without the others, or float32 [R, 4n, 4n, K].
        """
        if class_ids is None:
            return self.mask_head(roi_features)
        double, last = self._parts["mask_head"][-2:]
        return mask_logits_of_class(self._mask_convs(roi_features), class_ids, double, last)

    def _count_update(self, training: bool) -> None:
        if training and self.updates_moving_statistics:
            self.moving_average_updates.assign_add(1)


def variable_listing(network: MaskRCNN) -> list[str]:
    """Return the listing of trainable variables that training logs at its start, in TAO Toolkit's form.

    It has one line for each variable, such as ``[#0001] conv1/kernel:0 => (7, 7, 3, 64)``.
    """
    return [
        f"[#{number:04d}] {network.variable_name(variable)}:0 => {tuple(variable.shape)}"
        for number, variable in enumerate(network.trainable_variables, start=1)
    ]


@dataclass(frozen=True)
class _Parts:
    """Functional models of a network.

    Attributes:
        feature_extractor: backbone, FPN, and RPN.
        box_head: the box head.
        mask_head: the mask head.
        mask_convs: the mask head without its last two layers.
        layers: layers with variables by part, in listing order.
    """

    feature_extractor: keras.Model
    box_head: keras.Model
    mask_head: keras.Model
    mask_convs: keras.Model
    layers: dict[str, list[keras.layers.Layer]]


def _build_parts(
    architecture: Architecture,
    policy: keras.DTypePolicy,
    initializers: Initializers,
    batch_norm: Callable[..., BatchNorm],
    frozen: Collection[str],
) -> _Parts:
    conv = functools.partial(_convolution, policy, initializers)
    images = keras.Input((None, None, 3), name="images", dtype="float32")
    backbone = BackboneLayers(
        width=architecture.width,
        conv=conv,
        batch_norm=batch_norm,
        epsilon=architecture.epsilon,
        dtype=policy,
        frozen=frozen,
    )
    built = architecture.backbone.build(images, architecture.nlayers, backbone)
    stages = {stage.level: built[stage.layer] for stage in architecture.backbone.stages(architecture.nlayers)}
    maps, fpn = build_fpn(stages, architecture, conv=conv, dtype=policy)
    logits, deltas, rpn_head = build_rpn_head(maps, architecture, conv=conv, initializers=initializers)
    outputs = {f"p{level}": maps[level] for level in architecture.levels}
    feature_extractor = keras.Model(
        images, {**outputs, "rpn_logits": logits, "rpn_deltas": deltas}, name="feature_extractor"
    )
    channels = maps[architecture.min_level].shape[-1]
    box_head, box_layers = build_box_head(architecture, channels, dtype=policy, initializers=initializers)
    mask_head, mask_convs, mask_layers = build_mask_head(
        architecture, channels, conv=conv, dtype=policy, initializers=initializers
    )
    layers = {
        "backbone": backbone.made,
        "fpn": fpn,
        "rpn_head": rpn_head,
        "box_head": box_layers,
        "mask_head": mask_layers,
    }
    return _Parts(feature_extractor, box_head, mask_head, mask_convs, layers)


def _named_weights(
    parts: Mapping[str, Sequence[keras.layers.Layer]],
) -> list[tuple[str, keras.layers.Layer, str, Any]]:
    """Return (part, layer, ``conv1/kernel``, weight) of each weight, in listing order."""
    return [
        (part, layer, f"{layer.name}/{weight.name}", weight)
        for part, layers in parts.items()
        for layer in layers
        for weight in layer.weights
    ]


def _frozen_layers(architecture: Architecture, freeze_blocks: Collection[int]) -> set[str]:
    """Return the names of the layers in some blocks of the backbone.

    Raises:
        InvalidInput: the backbone does not have one of the blocks.
    """
    blocks = architecture.backbone.blocks(architecture.nlayers)
    if not set(freeze_blocks) <= set(blocks):
        raise InvalidInput(
            f"maskrcnnConfig.freezeBlocks: {list(freeze_blocks)} has blocks other than {', '.join(map(str, blocks))}"
        )
    return {layer for block in freeze_blocks for layer in blocks[block]}


def _batch_norm(
    policy: keras.DTypePolicy,
    updates: tf.Variable,
    name: str,
    *,
    sync_moments: SyncMoments | None,
    freeze_bn: bool,
    freeze_affine: bool,
    epsilon: float,
    block_frozen: bool,
) -> BatchNorm:
    return BatchNorm(
        epsilon=epsilon,
        frozen=freeze_bn or block_frozen,
        updates=updates,
        sync_moments=sync_moments,
        name=name,
        trainable=not (block_frozen or freeze_affine),
        dtype=policy,
    )


def _convolution(
    policy: keras.DTypePolicy, initializers: Initializers, name: str, filters: int, kernel_size: int, **kwargs: Any
) -> Convolution:
    kwargs.setdefault("kernel_initializer", initializers.glorot(name))
    return Convolution(filters, kernel_size, name=name, dtype=policy, **kwargs)
