"""Waits of a step that could start: lingering pods, the claim, a taken name, a refusal of the API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.pod import InputCache
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import Condition, StepState, StepStatus
from maskrcnn_operator.api.workspace import Workspace
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import ReconcileContext, StartRefusal
from maskrcnn_operator.core.readiness import CHECKS, Candidate, Never, answer
from maskrcnn_operator.core.runs import RunState

from .conftest import Make, in_a_bucket
from .world import SETTINGS, START, World

OLD_POD = "pod nuclei-train-1-0 on node node-a"


def ready(world: World) -> Condition:
    found = world.experiment.status.condition("Ready")
    assert found is not None
    return found


def test_nothing_starts_while_pods_of_the_step_linger(world: World) -> None:
    world.lingering = {"convert-train": "pod nuclei-convert-train-1-x"}
    world.settle()
    assert world.live() == {"convert-val"}
    step = world.step("convert-train")
    assert (step.state, step.reason) == (StepState.PENDING, "WaitingForPods")
    assert "pod nuclei-convert-train-1-x" in step.message
    world.lingering = {}
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    assert world.step("convert-train").message == ""


def test_steps_upstream_of_lingering_pods_wait(world: World) -> None:
    """They may still read results that would be replaced."""
    world.lingering = {"train": OLD_POD}
    world.settle()
    assert world.runs == {}
    step = world.step("convert-train")
    assert (step.reason, step.message) == (
        "UpstreamChanged",
        "waits for the end of steps that use its old result",
    )
    assert world.step("train").reason == "WaitingForSteps"
    assert ready(world).reason == "Waiting"
    world.lingering = {"of-an-older-spec": "pod nuclei-of-an-older-spec-1-x"}
    world.settle()
    assert world.runs == {}
    assert "pod nuclei-of-an-older-spec-1-x" in world.step("convert-train").message
    world.lingering = {}
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_back_off_is_reported_before_lingering_pods(training: World) -> None:
    training.lingering = {"train": OLD_POD}
    training.fail("train", 1, message="broken")
    assert training.step("train").reason == "BackOff"
    training.now += timedelta(seconds=10)
    training.settle()
    assert training.step("train").reason == "WaitingForPods"
    assert training.live() == set()
    assert ready(training).message == f"step train: WaitingForPods: waits for the end of {OLD_POD}"
    training.lingering = {}
    training.settle()
    assert training.step("train").attempt == 2


def test_a_suspension_waits_until_no_pod_is_left(training: World) -> None:
    training.suspend(True)
    training.settle()
    training.lingering = {"train": OLD_POD}
    training.fail("train", 143)
    assert training.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}
    assert (ready(training).reason, ready(training).message) == ("Stopping", f"waits for the end of {OLD_POD}")
    training.lingering = {}
    training.settle()
    assert training.conditions()["Suspended"] == "True"


def test_a_finished_experiment_is_not_suspended_while_pods_linger(make: Make) -> None:
    world = World(make(lambda spec: spec.update(steps=spec["steps"][:2])))
    world.settle()
    world.succeed("convert-train", "convert-val")
    world.lingering = {"convert-val": "pod x"}
    world.suspend(True)
    world.settle()
    assert world.conditions() == {"Succeeded": "True", "Ready": "True"}
    world.lingering = {}
    world.settle()
    assert world.conditions() == {"Suspended": "True", "Succeeded": "True", "Ready": "True"}


def test_a_suspension_of_an_invalid_spec_waits_for_pods_too(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec["steps"][3].update(modelFrom="nobody")).suspended(True))
    training.lingering = {"evaluate": "pod x"}
    training.settle()
    training.fail("train", 143)
    assert "Suspended" not in training.conditions()
    training.lingering = {}
    training.settle()
    assert training.conditions() == {"Stalled": "True", "Suspended": "True", "Succeeded": "Unknown", "Ready": "False"}


def test_nothing_starts_before_the_claim_is_known(make: Make) -> None:
    world = World(make(), replace(SETTINGS, workspace_shared=None))
    plan = world.settle()
    assert world.runs == {}
    assert plan.wake_at == world.now + timedelta(seconds=30)
    step = world.step("convert-train")
    assert (step.reason, step.message) == (
        "WaitingForClaim",
        "the PersistentVolumeClaim maskrcnn (spec.workspace.persistentVolumeClaim) does not exist or cannot be read",
    )
    assert ready(world).reason == "Waiting"
    # repeated reconciliations write nothing
    world.now += timedelta(seconds=30)
    assert not world.look().write_status
    world.settings = SETTINGS
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_without_read_write_many_one_step_runs_at_a_time(make: Make) -> None:
    world = World(make(lambda spec: spec["steps"][2].update(nodes=1)), replace(SETTINGS, workspace_shared=False))
    world.settle()
    assert world.live() == {"convert-train"}
    assert world.step("convert-val").reason == "WaitingForTurn"
    world.succeed("convert-train")
    assert world.live() == {"convert-val"}


def test_running_worker_group_continues_when_its_workspace_is_no_longer_shared(training: World) -> None:
    training.settings = replace(SETTINGS, workspace_shared=False)
    training.settle()
    assert ready(training).reason == "WorkspaceNotShared"
    assert training.live() == {"train"}
    training.succeed("train")
    assert training.step("train").state is StepState.SUCCEEDED
    assert training.live() == set()


def test_nothing_starts_before_the_owner_of_the_bucket_is_known(make: Make) -> None:
    world = World(make(in_a_bucket))
    plan = world.settle()
    assert world.runs == {}
    assert plan.wake_at == world.now + timedelta(seconds=30)
    step = world.step("convert-train")
    assert (step.reason, step.message) == (
        "OwnerUnknown",
        "the namespace default, whose uid is the owner of the results in s3://results/lab, cannot be read",
    )
    assert (ready(world).reason, "OwnerUnknown" in ready(world).message) == ("OwnerUnknown", True)
    world.now += timedelta(seconds=30)
    assert not world.look().write_status
    world.settings = replace(SETTINGS, owner_id="uid-of-the-namespace")
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_owner_doesnt_matter_for_a_claim(make: Make) -> None:
    world = World(make())
    assert world.settings.owner_id is None
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_worker_group_in_a_bucket_needs_no_claim(make: Make) -> None:
    world = World(make(in_a_bucket), replace(SETTINGS, owner_id="uid", workspace_shared=False))
    world.settle()
    world.succeed("convert-train", "convert-val")
    assert world.live() == {"train"}
    assert world.experiment.step("train").nodes > 1


@pytest.mark.parametrize("reason", [Reason.NAME_TAKEN, Reason.JOB_REFUSED])
def test_an_attempt_that_could_not_be_made_is_tried_again_later(world: World, reason: Reason) -> None:
    world.refused = {
        "convert-train": StartRefusal(reason, "Job nuclei-convert-train-1-abcde is not of this experiment")
    }
    plan = world.settle()
    step = world.step("convert-train")
    assert (step.state, step.reason, step.attempt) == (StepState.PENDING, reason, 0)
    assert step.next_attempt_time == world.now + timedelta(minutes=5)
    assert plan.wake_at == step.next_attempt_time
    assert "not of this experiment" in step.message
    assert world.live() == {"convert-val"}
    assert world.events.count(reason) == 1
    # later reconciliations have no refusal as input, and the step still waits
    world.refused = {}
    world.now += timedelta(minutes=4)
    world.settle()
    assert (world.step("convert-train").reason, world.live()) == (reason, {"convert-val"})
    world.now += timedelta(minutes=1)
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    assert world.step("convert-train").attempt == 1


def test_an_edit_tries_a_refused_attempt_at_once(world: World, make: Make) -> None:
    world.refused = {"convert-train": StartRefusal(Reason.JOB_REFUSED, "podOverrides.volumes: duplicate name")}
    world.settle()
    world.refused = {}
    world.edit(make(lambda spec: spec.update(podOverrides={"labels": {"team": "vision"}})))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_a_job_of_a_queue_is_queued_from_the_start(make: Make) -> None:
    """Kueue suspends it: Starting would cost another write, and count as active time."""
    experiment = make(lambda spec: spec.update(queueName="gpus"))
    world = World(experiment, replace(SETTINGS, queueing=True))
    world.settle()
    assert world.step("convert-train").state is StepState.STARTING  # the simulated executor admits at once
    started = World(experiment, replace(SETTINGS, queueing=True))
    started.look()
    assert (started.step("convert-train").state, started.step("convert-train").reason) == (StepState.QUEUED, "Queued")
    assert started.events == ["StepStarted", "StepStarted"]
    assert started.experiment.status.active_since is None
    for name in ("convert-train", "convert-val"):
        started.change(name, state=RunState.QUEUED, message="waits for LocalQueue gpus")
    assert not started.look().write_status


def test_unknown_claim_is_reported_before_the_limit_of_parallel_steps(training: World) -> None:
    training.succeed("train")
    training.fail("prune", 75)
    training.settings = replace(SETTINGS, workspace_shared=None)
    training.now += timedelta(seconds=10)
    plan = training.settle()
    assert training.live() == {"evaluate"}
    assert training.step("prune").reason == "WaitingForClaim"
    assert plan.wake_at == training.now + timedelta(seconds=30)


def test_refusal_does_not_apply_to_a_step_that_waits_for_others(world: World) -> None:
    world.refused = {"train": StartRefusal(Reason.NAME_TAKEN, "Job nuclei-train-1-abcde is not of this experiment")}
    world.settle()
    assert (world.step("train").reason, world.step("train").next_attempt_time) == ("WaitingForSteps", None)


@pytest.mark.parametrize(("queue", "queueing"), [({}, True), ({"queueName": "gpus"}, False)])
def test_job_without_a_queue_is_starting_from_the_start(make: Make, queue: dict[str, str], queueing: bool) -> None:
    world = World(make(lambda spec: spec.update(queue)), replace(SETTINGS, queueing=queueing))
    world.look()
    world.look()
    assert (world.step("convert-train").state, world.step("convert-train").reason) == (StepState.STARTING, "Starting")


def test_a_job_in_the_operators_default_queue_is_queued_from_the_start(make: Make) -> None:
    """Starting first would cost another write, and be wrong for a moment."""
    queueing = replace(SETTINGS, queueing=True, default_queue="shared")
    world = World(make(lambda spec: spec.update(queueName="")), queueing)
    world.look()
    step = world.step("convert-train")
    assert (step.state, step.message) == (StepState.QUEUED, "waits for LocalQueue shared")
    own = World(make(lambda spec: spec.update(queueName="gpus")), queueing)
    own.look()
    assert own.step("convert-train").message == "waits for LocalQueue gpus"


class Situation:
    """The step train, with a method for each reason that keeps it from starting."""

    def __init__(self, experiment: MaskRCNNExperiment) -> None:
        self.experiment = experiment
        self.steps = {step.name: StepStatus(name=step.name) for step in experiment.spec.steps}
        self._step("convert-train", state=StepState.SUCCEEDED)
        self._step("convert-val", state=StepState.SUCCEEDED)
        self.settings, self.lingering, self.refused = SETTINGS, dict[str, str](), dict[str, StartRefusal]()

    def _step(self, name: str, **fields: object) -> None:
        self.steps[name] = self.steps[name].model_copy(update=fields)

    def _status(self, **fields: object) -> None:
        self.experiment = self.experiment.with_status(self.experiment.status.model_copy(update=fields))

    def _spec(self, **fields: object) -> None:
        spec = self.experiment.spec.model_copy(update=fields)
        self.experiment = self.experiment.model_copy(update={"spec": spec})

    def suspended(self) -> None:
        self.experiment = self.experiment.suspended(True)

    def failure_not_reported(self) -> None:
        self._status(steps=(StepStatus(name="train", state=StepState.RUNNING),))
        self._step("train", reason="Disrupted", next_attempt_time=START)

    def upstream_failed(self) -> None:
        self._step("convert-train", state=StepState.FAILED)

    def upstream_runs(self) -> None:
        self._step("convert-val", state=StepState.RUNNING)

    def backing_off(self) -> None:
        self._step("train", reason="BackOff", next_attempt_time=START + timedelta(minutes=1))

    def pods_linger(self) -> None:
        self.lingering["train"] = OLD_POD

    def result_in_use(self) -> None:
        self.lingering["evaluate"] = OLD_POD

    def deadline_over(self) -> None:
        self._spec(active_deadline_seconds=1)
        self._status(active_seconds=2)

    def workspace_changed(self) -> None:
        self._status(workspace="another-claim")
        self._step("inference", state=StepState.RUNNING)

    def claim_unknown(self) -> None:
        self._spec(cache=InputCache.model_validate({"persistentVolumeClaim": {"claimName": "copies"}}))
        self.settings = replace(self.settings, workspace_shared=None, cache_shared=None)

    def owner_unknown(self) -> None:
        self._spec(workspace=Workspace.model_validate({"objectStorage": {"url": "s3://results"}}))
        self.settings = replace(self.settings, owner_id=None)

    def turn_taken(self) -> None:
        self.settings = replace(self.settings, max_parallel_steps=1)
        self._step("inference", state=StepState.RUNNING)

    def start_refused(self) -> None:
        self.refused["train"] = StartRefusal(Reason.NAME_TAKEN, "a Job of another owner has the name")

    def candidate(self) -> Candidate:
        desired = resolve(self.experiment)
        context = ReconcileContext(
            self.experiment, (), desired, START, self.settings, lingering=self.lingering, refused=self.refused
        )
        return Candidate("train", self.steps, context)


IN_ORDER: Mapping[str, Callable[[Situation], None]] = {
    "Suspended": Situation.suspended,
    "Disrupted": Situation.failure_not_reported,
    "UpstreamFailed": Situation.upstream_failed,
    "WaitingForSteps": Situation.upstream_runs,
    "BackOff": Situation.backing_off,
    "WaitingForPods": Situation.pods_linger,
    "UpstreamChanged": Situation.result_in_use,
    "DeadlineExceeded": Situation.deadline_over,
    "SpecChanged": Situation.workspace_changed,
    "WaitingForClaim": Situation.claim_unknown,
    "OwnerUnknown": Situation.owner_unknown,
    "WaitingForTurn": Situation.turn_taken,
    "NameTaken": Situation.start_refused,
}


@pytest.mark.parametrize("position", range(len(IN_ORDER)))
def test_first_check_that_applies_decides(make: Make, position: int) -> None:
    situation, (reason, *_) = Situation(make()), list(IN_ORDER)[position:]
    for happen in reversed(list(IN_ORDER.values())[position:]):
        happen(situation)
    why = answer(situation.candidate())
    assert why is not None
    assert why.reason == reason
    assert isinstance(why, Never) == (reason == "DeadlineExceeded")


def test_step_to_which_no_check_applies_starts(make: Make) -> None:
    assert answer(Situation(make()).candidate()) is None


def test_order_of_every_check_is_tested() -> None:
    assert len(CHECKS) == len(IN_ORDER)
