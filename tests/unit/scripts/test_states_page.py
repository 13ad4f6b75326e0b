"""The page docs/reference/states.md: chosen lines of kubectl's output, and stable values for those that vary."""

from __future__ import annotations

import pytest
from scripts.experiment_states import PAGE, STATES, play_of
from scripts.states_page import (
    AGE,
    RUN_BY,
    Capture,
    chosen,
    condition_row,
    events,
    explained,
    items,
    masked,
    page,
    section,
)
from tests.apiserver.pod_scripts import PodFacts

UID = "3f1c2a9e-5b7d-4c1e-9f00-aa12bb34cc56"
GET = """\
NAME     STATE     STEP    AGE
shapes   Waiting           {age}
"""
DESCRIBE = """\
Name:         shapes
Spec:
  Steps:
    Name:  of-the-spec
Status:
  Active Seconds:  1
  Conditions:
    Last Transition Time:  {time}
    Message:               step train: BackOff: pod shapes-train-1-{suffix}-{suffix} on node node-1
    Observed Generation:   1
    Reason:                Waiting
    Status:                Unknown
    Type:                  Succeeded
    Last Transition Time:  {time}
    Message:               step train: BackOff: pod shapes-train-1-{suffix}-{suffix} on node node-1
    Observed Generation:   1
    Reason:                Waiting
    Status:                False
    Type:                  Ready
  Current Step:            train
  Steps:
    Artifacts:
      Model:
        Bytes:     1000000
    Attempt:       1
    Disruptions:   0
    Job Name:      shapes-train-1-{suffix}
    Message:
    Metrics:
      Name:             AP
      Value:            0.377
    Name:               train
    Next Attempt Time:  {time}
    Reason:             BackOff
    State:              Pending
    Artifacts:
    Attempt:            0
    Name:               evaluate
    Reason:             WaitingForSteps
    State:              Pending
Events:
  Type     Reason          Age                 From      Message
  ----     ------          ----                ----      -------
  Normal   StepStarted     {age}                  operator  step train: attempt 1
  Warning  StepRestarting  {age} (x2 over 9m)     operator  step train: pod shapes-train-1-{suffix}-{suffix}
"""
EXPLAIN = """\
FIELD: steps <[]Object>

FIELDS:
  activeSince\t<string>
    Since when the step is active.

  attempt\t<integer>
    Number of the newest attempt;
    0 before the first.

  name\t<string> -required-
    Name of the step.
"""


def capture(time: str = "2026-03-04T05:06:07Z", suffix: str = "a1b2c", age: str = "4s") -> Capture:
    values = {"time": time, "suffix": suffix, "age": age}
    return Capture("Backing off", "It waits.", "shapes", GET.format(**values), DESCRIBE.format(**values))


def test_page_is_equal_for_two_runs() -> None:
    first = page([capture()], EXPLAIN)
    assert first == page([capture("2027-01-01T10:00:00Z", "z9y8x", "2m13s")], EXPLAIN)
    assert "a1b2c" not in first


def test_only_condition_ready_is_shown() -> None:
    lines = list(chosen(capture().describe))
    assert lines[:4] == [
        "  Conditions:",
        "    Message:  step train: BackOff: pod shapes-train-1-a1b2c-a1b2c on node node-1",
        "    Type:     Ready",
        "  Steps:",
    ]


def test_fields_without_value_are_left_out_and_steps_are_those_of_the_status() -> None:
    lines = list(chosen(capture().describe))
    assert lines[4 : lines.index("Events:")] == [
        "    Attempt:            1",
        "    Name:               train",
        "    Next Attempt Time:  2026-03-04T05:06:07Z",
        "    Reason:             BackOff",
        "    State:              Pending",
        "    Name:               evaluate",
        "    Reason:             WaitingForSteps",
        "    State:              Pending",
    ]


def test_events_are_aligned_with_one_age() -> None:
    lines = list(chosen(capture().describe))
    assert lines[lines.index("Events:") + 1 :] == [
        "  Type     Reason          Age  Message",
        "  Normal   StepStarted     1m   step train: attempt 1",
        "  Warning  StepRestarting  1m   step train: pod shapes-train-1-a1b2c-a1b2c",
    ]


def test_experiment_without_events_has_none() -> None:
    assert events("Status:\n  Steps:\nEvents:  <none>\n") == []


def test_values_of_an_item_exclude_those_of_nested_items() -> None:
    first, second = items(capture().describe, "Steps", last="State")
    assert (first["Name"], second["Name"]) == ("train", "evaluate")
    assert "Bytes" not in first


def test_row_of_conditions_has_a_dash_for_an_absent_one() -> None:
    assert condition_row(capture()) == "| [Backing off](#backing-off) | False | Unknown | - | - |"


def test_section_has_the_commands_and_a_stable_age() -> None:
    lines = list(section(capture()))
    assert lines[:6] == ["## Backing off", "", "It waits.", "", RUN_BY, "```console"]
    assert lines[6] == "$ kubectl get maskrcnnexperiments shapes"
    assert lines[8].split() == ["shapes", "Waiting", AGE]
    assert lines[9] == "$ kubectl describe maskrcnnexperiment shapes"
    assert lines[-2:] == ["```", ""]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Job shapes-train-2-a1b2c", "Job shapes-train-2-xxxxx"),
        ("pod shapes-train-2-a1b2c-z9y8x on", "pod shapes-train-2-xxxxx-xxxxx on"),
        ("pod shapes-train-2-a1b2c-0-z9y8x: no", "pod shapes-train-2-xxxxx-0-xxxxx: no"),
        ("pod shapes-dataset-convert-1-a1b2c", "pod shapes-dataset-convert-1-xxxxx"),
        (f"uid {UID}", "uid 00000000-0000-0000-0000-000000000000"),
        ("at 2026-03-04T05:06:07.123456Z", "at 2026-01-01T00:00:00Z"),
        ("others-train-1-a1b2c", "others-train-1-a1b2c"),
        ("/workspace/shapes/train/model.step-1000.tlt", "/workspace/shapes/train/model.step-1000.tlt"),
    ],
)
def test_values_that_differ_between_runs_are_masked(line: str, expected: str) -> None:
    assert masked(line, "shapes") == expected


def test_explanation_leaves_out_self_explanatory_fields() -> None:
    assert list(explained(EXPLAIN)) == [
        "  attempt <integer>",
        "    Number of the newest attempt;",
        "    0 before the first.",
    ]


def test_committed_page_has_every_state() -> None:
    text = PAGE.read_text("utf-8")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [*(state.title for state in STATES), "Fields of a step"]
    for state in STATES:
        assert f"\n## {state.title}\n\n{state.sentence}\n" in text
        assert f"$ kubectl get maskrcnnexperiments {state.experiment}\n" in text


def test_play_of_a_pod_follows_the_state_of_its_experiment() -> None:
    [failed] = (state for state in STATES if state.experiment == "failed")
    first = play_of(facts("failed", attempt=1))
    assert (first.exit_code, first.message) == (64, failed.plays[1].message)
    assert play_of(facts("done", attempt=1)).exit_code == 0


def facts(experiment: str, attempt: int) -> PodFacts:
    return PodFacts("states", "pod", "uid", experiment, "train", attempt, 0, "train", None, {})
