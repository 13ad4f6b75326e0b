"""Names of the resource that operator and trainer both read and write."""

from __future__ import annotations

GROUP = "maskrcnn.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MaskRCNNExperiment"

EXPERIMENT_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A DNS label that starts with a letter: it begins the names of Jobs and Services."""
EXPERIMENT_NAME_LENGTH = 32

WORKSPACE_MOUNT = "/workspace"
"""Where every step finds the workspace."""
