"""Process-wide settings of a training, for the tests of its parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tensorflow as tf


@pytest.fixture(scope="module", autouse=True)
def graphs_as_traced() -> Iterator[None]:
    """Turn off TensorFlow's rewriting of graphs (see ``rewrite_cpu_graphs`` of ``prepare_tensorflow``)."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})
