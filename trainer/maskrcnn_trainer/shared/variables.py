"""Environment variables of a task: the operator, ``maskrcnn launch``, or a user sets them, and the task reads them."""

from __future__ import annotations

VARIABLE_PREFIX = "MASKRCNN_"
"""Beginning of every name; in a pod all such names belong to the operator."""

RESULTS_DIR_VARIABLE = "MASKRCNN_RESULTS_DIR"
FINGERPRINT_VARIABLE = "MASKRCNN_FINGERPRINT"
"""The oldest fingerprint of the step; a trainer of an older release reads only this variable."""
FINGERPRINTS_VARIABLE = "MASKRCNN_FINGERPRINTS"
"""All fingerprints of a step that has several, oldest first, separated by spaces."""
ATTEMPT_VARIABLE = "MASKRCNN_ATTEMPT"
EXPERIMENT_UID_VARIABLE = "MASKRCNN_EXPERIMENT_UID"
CREATED_VARIABLE = "MASKRCNN_CREATED"
"""Time at which the experiment was created, such as 2026-01-31T12:00:00Z."""
TERMINATION_LOG_VARIABLE = "MASKRCNN_TERMINATION_LOG"
"""File for the termination message."""

KEY_VARIABLE = "MASKRCNN_KEY"
"""Encryption key; set by the executor from a Secret or the user's environment, never on a command line."""

REPORT_URL_VARIABLE = "MASKRCNN_REPORT_URL"
REPORT_TOKEN_FILE_VARIABLE = "MASKRCNN_REPORT_TOKEN_FILE"  # noqa: S105 - the name of a variable
REPORT_CA_FILE_VARIABLE = "MASKRCNN_REPORT_CA_FILE"

GPUS_VARIABLE = "MASKRCNN_GPUS"
"""GPUs of each node that were requested: gpusPerNode of the step, or --gpus on a machine with an NVIDIA device."""
IMAGE_VARIABLE = "MASKRCNN_IMAGE"
"""Image of a step that requests GPUs, for the message about a missing one; set by the operator."""
GPU_INDEX_VARIABLE = "MASKRCNN_GPU_INDEX"
"""The indices of --gpu-index, separated by commas. CUDA ignores indices that don't exist without an error."""

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""CUDA's list of the GPUs that a process sees; "" or -1: none."""
NO_GPU_VARIABLES = {"NVIDIA_VISIBLE_DEVICES": "void", CUDA_VISIBLE_DEVICES: "-1"}
"""Variables that keep GPUs from a process: NVIDIA's container toolkit reads the first, and CUDA the second.

An image of NVIDIA's has NVIDIA_VISIBLE_DEVICES=all, with which a container that requests no GPU gets all of the node.
"""

WORKSPACE_VARIABLE = "MASKRCNN_WORKSPACE"
"""Directory on this machine for /workspace; the trainer writes results with the manifest's paths."""

WORKSPACE_URL_VARIABLE = "MASKRCNN_WORKSPACE_URL"
"""URL of the object storage that /workspace stands for; set by ``maskrcnn launch`` with a results directory by URL."""
WORKING_DIR_VARIABLE = "MASKRCNN_WORKING_DIR"
"""Directory on this machine where a task writes before its results are published to object storage."""
SCRATCH_LIMIT_VARIABLE = "MASKRCNN_SCRATCH_LIMIT"
"""Size limit of that directory in bytes; absent: the disk is the limit."""
OWNER_ID_VARIABLE = "MASKRCNN_OWNER_ID"
"""Owner of the experiment's results in object storage: a cluster's namespace, or a machine with local runs."""
OWNER_NAMESPACE_VARIABLE = "MASKRCNN_OWNER_NAMESPACE"
"""Namespace of the experiment; unset for a local run."""
TAKE_OVER_VARIABLE = "MASKRCNN_TAKE_OVER_FROM"
"""Owner that may be replaced, as ``<id>/<ownerEpoch>``."""
INPUT_FINGERPRINTS_VARIABLE = "MASKRCNN_INPUT_FINGERPRINTS"
"""JSON object: fingerprints of each step whose results the task may read, oldest first, by name of the step."""
PUBLICATION_VARIABLE = "MASKRCNN_PUBLICATION_FD"
"""Descriptor of a socket between rank 0 and ``maskrcnn launch``: what is complete, and what is published."""

TOKEN_VARIABLE = "MASKRCNN_RUN_TOKEN"  # noqa: S105 - the name of a variable
"""Token of the run that owns the results directory; set by ``maskrcnn launch``."""
THREADS_VARIABLE = "MASKRCNN_THREADS"
"""Threads of a process; set by ``maskrcnn launch``."""
FAILURE_VARIABLE = "MASKRCNN_FAILURE_MESSAGE_FD"
"""Descriptor to which a process writes its failure; set by ``maskrcnn launch``."""

OBJECT_STORES_VARIABLE = "MASKRCNN_OBJECT_STORES"
"""JSON list of the stores through which URLs are reached, without keys; the file of --store-config replaces it."""
CACHE_VARIABLE = "MASKRCNN_CACHE"
"""Directory for copies of inputs that are given by URL; --cache replaces it."""
CACHE_LIMIT_VARIABLE = "MASKRCNN_CACHE_LIMIT"
"""Size limit of that directory in bytes; absent: the disk is the limit."""
STAGED_INPUTS_VARIABLE = "MASKRCNN_STAGED_INPUTS"
"""File with the paths of the inputs that a process has staged, for the processes that it starts."""
