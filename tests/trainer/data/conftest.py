"""A pretended GPU for the input pipeline."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture
def gpu_that_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the product take the CPU for a GPU, so that batches are prepared for one and copied to the CPU."""
    real = tf.config.list_logical_devices

    def devices(kind: str | None = None) -> list[tf.config.LogicalDevice]:
        return [tf.config.LogicalDevice("/device:CPU:0", "GPU")] if kind == "GPU" else real(kind)

    monkeypatch.setattr(tf.config, "list_logical_devices", devices)
