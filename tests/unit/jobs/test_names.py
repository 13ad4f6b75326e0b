"""Names of objects: their lengths, and their uniqueness."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_operator.api.base import EXPERIMENT_NAME_LENGTH, STEP_NAME_LENGTH
from maskrcnn_operator.jobs.names import job_name, labels, service_name, uid_hash

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
EXPERIMENTS = st.from_regex(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True)
STEPS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?", fullmatch=True)


@given(EXPERIMENTS, STEPS, st.integers(1, 999_999), st.uuids().map(str))
def test_names_are_dns_labels_with_room_for_an_index(experiment: str, step: str, attempt: int, uid: str) -> None:
    for name in (f"{job_name(experiment, step, attempt, uid)}-998", service_name(experiment, step, uid)):
        assert len(name) <= 63
        assert LABEL.fullmatch(name)


def test_name_has_experiment_step_and_attempt() -> None:
    uid = "6f1c2d34-0000-4000-8000-000000000001"
    assert job_name("nuclei", "train", 3, uid) == f"nuclei-train-3-{uid_hash(uid)}"
    assert service_name("nuclei", "train", uid) == f"nuclei-train-{uid_hash(uid)}"
    assert re.fullmatch("[a-z2-7]{5}", uid_hash(uid))
    assert uid_hash(uid) != uid_hash(uid.replace("1", "2"))


def test_the_longest_names_are_whole_up_to_attempt_999() -> None:
    experiment, step = "e" * EXPERIMENT_NAME_LENGTH, "s" * STEP_NAME_LENGTH
    assert job_name(experiment, step, 999, "u").startswith(f"{experiment}-{step}-999-")
    assert f"-{step}-123456-" in job_name(experiment, step, 123456, "u")


@given(st.lists(st.tuples(STEPS, st.integers(1, 50)), min_size=2, max_size=2, unique=True))
def test_attempts_of_one_experiment_never_share_a_name(pair: list[tuple[str, int]]) -> None:
    first, second = pair
    assert job_name("nuclei", *first, "u") != job_name("nuclei", *second, "u")


def test_labels() -> None:
    assert labels("nuclei", "train", 3) == {
        "maskrcnn.dev/experiment": "nuclei",
        "maskrcnn.dev/step": "train",
        "maskrcnn.dev/attempt": "3",
        "app.kubernetes.io/managed-by": "maskrcnn-operator",
    }
    assert "maskrcnn.dev/attempt" not in labels("nuclei", "train")
