"""Names of the custom resource, for operator and trainer."""

from __future__ import annotations

GROUP = "maskrcnn.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MaskRCNNExperiment"

EXPERIMENT_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""DNS label that starts with a letter, since names of Jobs and Services begin with it."""
EXPERIMENT_NAME_LENGTH = 32

OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Name of a Kubernetes object, such as a Secret."""

WORKSPACE_MOUNT = "/workspace"
"""Mount path of the workspace in every step."""
