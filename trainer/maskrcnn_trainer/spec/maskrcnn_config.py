"""``maskrcnnConfig``: structure of the network, and sampling and filtering of anchors, proposals, and detections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from maskrcnn_trainer.spec.base import UINT32_MAX, AspectRatios, Blocks, BoxWeights, SpecModel
from maskrcnn_trainer.spec.purposes import Purpose, ReadFor

_TOP_N_MAX = 100_000


class MaskRCNNConfig(SpecModel):
    """Model for training, evaluation, and inference. Backbones are ResNet 10, 18, 34, 50, and 101."""

    nlayers: Annotated[Literal[10, 18, 34, 50, 101], ReadFor(Purpose.STRUCTURE)] = Field(
        default=50, description="Number of layers of the ResNet backbone."
    )
    arch: Annotated[Literal["resnet", "resnet_v1", "resnet_v1_5"], ReadFor(Purpose.STRUCTURE)] = Field(
        default="resnet",
        description="Variant of the backbone. resnet: stride on the first convolution of a block and projection "
        "shortcuts in every stage, for TAO Toolkit's pretrained weights. resnet_v1_5: stride on the 3x3 "
        "convolution and identity shortcuts, for weights with torchvision names. resnet_v1: the shortcuts and padding "
        "of resnet_v1_5 and the stride of resnet, as in Detectron2's model zoo.",
    )
    freeze_bn: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=True,
        description="Whether the batch normalization layers of the backbone keep their stored statistics. Scale and "
        "offset are trained unless freezeBnAffine is true. Use it with a pretrained checkpoint: the initial statistics "
        "of new layers don't normalize anything.",
    )
    freeze_bn_affine: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=False,
        description="Whether scale and offset of the backbone's batch normalization layers aren't trained, as in "
        "torchvision, Detectron2, and MMDetection's caffe style.",
    )
    sync_bn: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=True,
        description="Whether batch normalization layers with freezeBn false normalize by the images of all processes "
        "together. false: by those of each process, which is faster with several processes; the stored statistics are "
        "averaged over the processes at each step.",
    )
    freeze_blocks: Annotated[Blocks, ReadFor(Purpose.TRAINING)] = Field(
        default=(0, 1),
        description="Blocks of the backbone that aren't trained, any of 0 to 4; 0 is the first convolution. "
        "[]: all blocks are trained.",
    )
    gt_mask_size: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=112, ge=14, le=512, description="Side in pixels to which a ground-truth mask is cropped and resized."
    )
    rpn_positive_overlap: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Minimum overlap (IoU, 0 to 1) of a positive anchor with an object.",
    )
    rpn_negative_overlap: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) with all objects below which an anchor is negative; at most "
        "rpnPositiveOverlap.",
    )
    rpn_batch_size_per_im: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=256, ge=1, le=65536, description="Number of anchors sampled for the RPN loss per image."
    )
    rpn_fg_fraction: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.5, gt=0, le=1, description="Desired fraction (0 to 1) of positive anchors among the sampled ones."
    )
    rpn_min_size: Annotated[float, ReadFor(Purpose.TRAINING, Purpose.DETECTION)] = Field(
        default=0.0,
        ge=0,
        le=8192,
        description="Minimum height and width of a proposal, in pixels of the network's input. 0: no minimum.",
    )
    batch_size_per_im: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=512, ge=1, le=8192, description="Number of regions of interest sampled for the heads per image."
    )
    fg_fraction: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Desired fraction (0 to 1) of foreground among the sampled regions of interest.",
    )
    fg_thresh: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) with an object above which a region of interest is foreground.",
    )
    bg_thresh_hi: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) below which a region of interest is background; at most fgThresh.",
    )
    bg_thresh_lo: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Minimum overlap (IoU, 0 to 1) of a background region of interest; at most bgThreshHi.",
    )
    fast_rcnn_mlp_head_dim: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=1024, ge=1, le=16384, description="Number of units in each of the two dense layers of the box head."
    )
    bbox_reg_weights: Annotated[BoxWeights, ReadFor(Purpose.STRUCTURE)] = Field(
        default=(10.0, 10.0, 5.0, 5.0),
        description="Weights of the box regression targets [dy, dx, dh, dw].",
    )
    include_mask: Annotated[bool, ReadFor(Purpose.STRUCTURE)] = Field(
        default=True, description="Whether the model has a mask head. Currently only true is supported."
    )
    mrcnn_resolution: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=28, ge=4, le=224, description="Side in pixels of a predicted mask; a multiple of 4."
    )
    train_rpn_pre_nms_topn: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=2000,
        ge=1,
        le=_TOP_N_MAX,
        description="Number of best proposals of each pyramid level passed to non-maximum suppression in training.",
    )
    train_rpn_post_nms_topn: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=1000,
        ge=1,
        le=_TOP_N_MAX,
        description="Number of proposals of all levels kept after non-maximum suppression in training.",
    )
    train_rpn_nms_threshold: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) from which a proposal suppresses another in training.",
    )
    test_detections_per_image: Annotated[int, ReadFor(Purpose.DETECTION)] = Field(
        default=100, ge=1, le=1000, description="Maximum number of detections per image."
    )
    test_nms: Annotated[float, ReadFor(Purpose.DETECTION)] = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) from which a detection suppresses another of its class.",
    )
    test_score_threshold: Annotated[float | None, ReadFor(Purpose.DETECTION)] = Field(
        default=None,
        ge=0,
        lt=1,
        description="Score (0 to 1) that a detection exceeds. Absent: as in the model file, else 0.",
    )
    test_candidate_limit: Annotated[int | None, ReadFor(Purpose.DETECTION)] = Field(
        default=None,
        ge=1,
        le=UINT32_MAX,
        description="Maximum number of pairs of box and class per image that enter non-maximum suppression. Absent: as "
        "in the model file, else 1000. An export takes at most 3839.",
    )
    test_rpn_pre_nms_topn: Annotated[int, ReadFor(Purpose.DETECTION)] = Field(
        default=1000,
        ge=1,
        le=_TOP_N_MAX,
        description="Number of best proposals of each pyramid level passed to non-maximum suppression at test time.",
    )
    test_rpn_post_nms_topn: Annotated[int, ReadFor(Purpose.DETECTION)] = Field(
        default=1000,
        ge=1,
        le=_TOP_N_MAX,
        description="Number of proposals of all levels kept after non-maximum suppression at test time.",
    )
    test_rpn_nms_threshold: Annotated[float, ReadFor(Purpose.DETECTION)] = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Overlap (IoU, 0 to 1) from which a proposal suppresses another at test time.",
    )
    min_level: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=2, ge=2, le=2, description="Lowest level of the feature pyramid (stride 2^level); only 2 is supported."
    )
    max_level: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=6, ge=5, le=6, description="Highest level of the feature pyramid (stride 2^level): 5 or 6."
    )
    num_scales: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=1,
        ge=1,
        le=8,
        description="Number of anchor sizes within an octave at each level; 3 gives 2^0, 2^(1/3), and 2^(2/3).",
    )
    aspect_ratios: Annotated[AspectRatios, ReadFor(Purpose.STRUCTURE)] = Field(
        default=((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)),
        description="Shapes of the anchors at each level: [width, height] as multiples of the anchor's size.",
    )
    anchor_scale: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        default=8,
        ge=1,
        le=256,
        description="Size of the base anchor in strides: at level l the side of an anchor is anchorScale * 2^l pixels.",
    )
    anchor_offset: Annotated[float | None, ReadFor(Purpose.STRUCTURE)] = Field(
        default=None,
        ge=0,
        le=1,
        description="Center of the anchors of a level's first cell, in strides. Absent: as in the model file, else "
        "0.5. Detectors of torchvision, Detectron2, and MMDetection have 0.",
    )
    anchor_rounding: Annotated[Literal["none", "corners"] | None, ReadFor(Purpose.STRUCTURE)] = Field(
        default=None,
        description="Rounding of anchors. corners: the corners around the center are rounded to whole pixels, as in "
        "torchvision. Absent: as in the model file, else none.",
    )
    roi_max_level: Annotated[int | None, ReadFor(Purpose.STRUCTURE)] = Field(
        default=None,
        ge=3,
        le=6,
        description="Highest pyramid level from which regions of interest are pooled, at most maxLevel. Absent: as in "
        "the model file, else maxLevel.",
    )
    roi_aligned: Annotated[bool | None, ReadFor(Purpose.STRUCTURE)] = Field(
        default=None,
        description="Whether RoIAlign has the center of a cell at half a cell. Absent: as in the model file, else "
        "true. torchvision's detectors have false.",
    )
    roi_sampling_ratio: Annotated[int | None, ReadFor(Purpose.STRUCTURE)] = Field(
        default=None,
        ge=0,
        le=16,
        description="Number of samples of RoIAlign in a bin along each axis. 0: as many as the bin has cells. Absent: "
        "as in the model file, else 2.",
    )
    rpn_box_loss_weight: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=1.0, ge=0, le=1000, description="Weight of the RPN's box loss in the total loss."
    )
    fast_rcnn_box_loss_weight: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=1.0, ge=0, le=1000, description="Weight of the box head's regression loss in the total loss."
    )
    mrcnn_weight_loss_mask: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=1.0, ge=0, le=1000, description="Weight of the mask loss in the total loss."
    )
