"""Simulated cluster of views: Jobs, their controller, pods, lost nodes, and the operator's loop."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import Progress, StepState
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import Plan, Settings, StartRefusal, StartRun
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_operator.jobs.config import run_name
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.jobs.views import JobCondition, JobView, PodView

from .conftest import MANIFEST, UID, at

SETTINGS = Settings(default_image="trainer:1", run_name=run_name)
GRACE = timedelta(seconds=120)
STAGES = (
    ("convert-train", "convert-val"),
    ("train",),
    ("evaluate", "prune"),
    ("retrain",),
    ("evaluate-pruned", "inference", "export"),
)


def variant(seed: int, revision: int, broken: bool, image: str = "") -> MaskRCNNExperiment:
    manifest = copy.deepcopy(MANIFEST)
    manifest["spec"]["image"] = image
    generation = 1 + 4 * seed + 2 * revision + broken + 100 * bool(image)
    manifest["metadata"] |= {"namespace": "lab", "uid": UID, "generation": generation}
    manifest["spec"]["experiment"]["seed"] = seed
    manifest["spec"]["steps"][3]["revision"] = str(revision)
    if broken:
        manifest["spec"]["steps"][3]["modelFrom"] = "nobody"
    return read_object(manifest)


# reading and resolving a manifest takes milliseconds, so each variant is read once
VARIANTS = [variant(seed, revision, broken) for seed in (1, 2) for revision in (0, 1) for broken in (False, True)]
VARIANTS += [variant(1, revision, False, "own:1") for revision in (0, 1)]
RESOLVED: Mapping[int, DesiredState] = {id(item.spec.steps): resolve(item) for item in VARIANTS}


class Cluster:
    """Simulated cluster and operator. Tests may change the attributes."""

    def __init__(self, stages: int = 0) -> None:
        """Make a cluster in which the first ``stages`` of the STAGES have succeeded."""
        self.experiment = VARIANTS[0]
        self.late: dict[str, PodView] | None = None
        self.jobs: dict[str, JobView] = {}
        self.pods: dict[str, PodView] = {}
        self.kept: dict[str, PodView] = {}
        """Deleted pods that had been seen to end, kept as long as their Job exists."""
        self.earlier: set[str] = set()
        """Jobs that an earlier release made; they replace a disrupted pod."""
        self.sidecars: set[str] = set()
        """Pods with a sidecar that outlives the trainer."""
        self.dead: set[str] = set()
        self.now = at(0)
        self.names = 0
        self.lose_next_status = False
        self.taken: set[str] = set()
        self.highest: dict[str, int] = {}
        self.settle()
        for stage in STAGES[:stages]:
            self.control()
            for pod in list(self.pods.values()):
                if pod.step in stage:
                    self.end(pod, 0)
            self.control()
            self.settle()

    @property
    def desired(self) -> DesiredState:
        return RESOLVED[id(self.experiment.spec.steps)]

    # the operator

    @property
    def seen_pods(self) -> list[PodView]:
        """Pods as the operator sees them: watches may be late, and pods that have ended are kept."""
        return list((self.kept | (self.pods if self.late is None else self.late)).values())

    def plan(self, refused: Mapping[str, StartRefusal]) -> Plan:
        seen = observe(self.experiment, list(self.jobs.values()), self.seen_pods, self.now)
        return reconcile(
            self.experiment,
            seen.runs,
            self.now,
            SETTINGS,
            self.desired,
            lingering=seen.lingering,
            refused=refused,
        )

    def look(self) -> bool:
        """Reconcile once, carrying the plan out as the executor does; return whether anything was done."""
        refused: dict[str, StartRefusal] = {}
        plan = self.plan(refused)
        while names := {start.step for start in plan.start if start.step in self.taken}:
            refused |= {
                name: StartRefusal(Reason.NAME_TAKEN, f"Job {name} is owned by another controller") for name in names
            }
            plan = self.plan(refused)
        for start in plan.start:
            self.create(start)
        if self.lose_next_status and plan.start:
            # the operator was killed after it created the Jobs
            self.lose_next_status = False
            return True
        for step in plan.status.steps:
            before = self.experiment.status.step(step.name)
            assert before is None or step.attempt >= before.attempt, "an attempt's number decreased"
        assert plan.write_status == (
            plan.status.model_copy(update={"progress": None})
            != self.experiment.status.model_copy(update={"progress": None})
        )
        self.experiment = self.experiment.with_status(plan.status)
        for key in (*plan.stop, *plan.forget):
            self.delete(self.job_of(key))
        return bool(plan.start or plan.stop or plan.forget or plan.write_status or plan.drop_progress)

    def settle(self) -> None:
        for _ in range(30):
            if not self.look():
                return
        raise AssertionError("no fixed point")

    def create(self, start: StartRun) -> None:
        mine = [pod for pod in self.seen_pods if pod.step == start.step]
        assert not any(self.alive(pod) for pod in mine), "a step starts while pods of it are alive"
        graph = self.desired.graph
        below = {name for name in graph.nodes if start.step in graph.ancestors(name)}
        readers = [pod for pod in self.seen_pods if pod.step in below and self.alive(pod)]
        assert not readers, "a step starts while its old result is still read"
        assert start.attempt > self.highest.get(start.step, 0), "an attempt's number was used twice"
        self.highest[start.step] = start.attempt
        name = run_name(self.experiment, start.step, start.attempt)
        uid = f"uid-of-{name}"
        assert uid not in self.jobs
        self.jobs[uid] = JobView(
            uid=uid,
            name=name,
            namespace="lab",
            experiment="nuclei",
            step=start.step,
            attempt=start.attempt,
            experiment_uid=UID,
            fingerprint=start.fingerprint,
            template=start.template,
            image=start.image,
            start_time=self.now,
            creation=self.now,
            parallelism=self.experiment.step(start.step).nodes,
        )

    def job_of(self, key: RunKey) -> JobView | None:
        return next((job for job in self.jobs.values() if (job.step, job.attempt) == (key.step, key.attempt)), None)

    # the cluster

    def alive(self, pod: PodView) -> bool:
        """Return whether a pod may still run: it has not ended, and is less than a minute past its deadline."""
        until = pod.deletion_timestamp
        return pod.phase not in ("Succeeded", "Failed") and (until is None or self.now < until + timedelta(minutes=1))

    def delete(self, job: JobView | None) -> None:
        """Delete a Job as with propagationPolicy Foreground: it exists until its pods are gone."""
        if job is None or job.deletion_timestamp is not None:
            return
        self.jobs[job.uid] = replace(job, deletion_timestamp=self.now)
        for pod in self.pods_of(job):
            self.terminate(pod)

    def pods_of(self, job: JobView) -> list[PodView]:
        return [pod for pod in self.pods.values() if pod.job_uid == job.uid]

    def terminate(self, pod: PodView) -> None:
        if pod.deletion_timestamp is None:
            self.pods[pod.uid] = replace(pod, deletion_timestamp=self.now + GRACE)

    def collect(self) -> None:
        for pod in list(self.pods.values()):
            if pod.terminal and pod.deletion_timestamp is not None:
                job = self.jobs.get(pod.job_uid)
                if job is None or job.deletion_timestamp is not None or job.finished or job.suspended:
                    del self.pods[pod.uid]
                    if job is not None and self.late is None:
                        self.kept[pod.uid] = pod
        for job in list(self.jobs.values()):
            if job.deletion_timestamp is not None and not self.pods_of(job):
                del self.jobs[job.uid]
        self.kept = {uid: pod for uid, pod in self.kept.items() if pod.job_uid in self.jobs}

    def add_pod(self, job: JobView, index: int) -> None:
        self.names += 1
        uid = f"pod-{self.names}"
        self.pods[uid] = PodView(
            uid=uid,
            name=f"{job.name}-{index}-{self.names}",
            namespace="lab",
            experiment="nuclei",
            step=job.step,
            attempt=job.attempt,
            experiment_uid=job.experiment_uid,
            fingerprint=job.fingerprint,
            template=job.template,
            job_uid=job.uid,
            index=index,
            node=f"node-{self.names % 3}",
            creation=self.now,
        )

    def control(self) -> None:
        """Run one round of the Job controller and the garbage collector."""
        for job in list(self.jobs.values()):
            if job.deletion_timestamp is None and not job.finished:
                self.sync(job)
        self.collect()

    def sync(self, job: JobView) -> None:  # noqa: C901 - all rules of the Job controller
        pods = self.pods_of(job)
        if job.suspended:
            for pod in pods:
                self.terminate(pod)
            return
        failing, message = self.failure(job, pods)
        if job.condition("FailureTarget") is None and failing:
            self.condition(job, "FailureTarget", failing, message)
            for pod in pods:
                if not pod.terminal:
                    self.terminate(pod)
        job, pods = self.jobs[job.uid], self.pods_of(job)
        target = job.condition("FailureTarget")
        if target is not None:
            if all(pod.terminal for pod in pods):
                self.condition(job, "Failed", target.reason, target.message)
            return
        done = {pod.index for pod in pods if pod.phase == "Succeeded"}
        if len(done) == job.parallelism and all(pod.terminal for pod in pods):
            self.jobs[job.uid] = replace(job, completion_time=self.now)
            self.condition(self.jobs[job.uid], "Complete", "CompletionsReached", "")
            return
        there = done | {pod.index for pod in pods if not pod.terminal}
        for index in range(job.parallelism):
            if index not in there:
                self.add_pod(job, index)

    def failure(self, job: JobView, pods: list[PodView]) -> tuple[str, str]:
        for pod in pods:
            if pod.phase != "Failed":
                continue
            if pod.disrupted and job.parallelism == 1 and job.uid in self.earlier:
                continue
            if pod.disrupted:
                return "PodFailurePolicy", f"Pod lab/{pod.name} has condition DisruptionTarget matching FailJob rule"
            if pod.exit_code == 64:
                return "PodFailurePolicy", f"Container trainer for pod lab/{pod.name} failed with exit code 64"
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        return "", ""

    def condition(self, job: JobView, kind: str, reason: str, message: str) -> None:
        found = JobCondition(kind, reason, message, self.now)
        self.jobs[job.uid] = replace(job, conditions=(*job.conditions, found))

    def end(self, pod: PodView, code: int, *, mute: bool = False) -> None:
        """End the task of a pod with exit code ``code``."""
        word: dict[str, Any] = {"version": 1, "code": code, "fingerprint": pod.fingerprint, "attempt": pod.attempt}
        if code == 0:
            word["modelPath"] = f"/workspace/nuclei/{pod.step}/model.tlt"
        held = pod.uid in self.sidecars and pod.deletion_timestamp is None
        self.pods[pod.uid] = replace(
            pod,
            phase="Running" if held else "Failed" if code else "Succeeded",
            accompanied=held,
            container_state="terminated",
            container_exit_code=code,
            reason="Error" if code else "Completed",
            termination_message=json.dumps(word) if pod.index == 0 and not mute else "",
            finished_at=self.now,
        )

    def end_what_terminates(self) -> None:
        for pod in list(self.pods.values()):
            if pod.deletion_timestamp is None or pod.terminal or pod.uid in self.dead:
                continue
            if pod.ended:
                # its sidecar is killed
                self.pods[pod.uid] = replace(pod, phase="Failed", accompanied=False)
            else:
                self.end(pod, 143)
        self.collect()

    # things that may happen

    def act(self, action: str, which: int, value: int) -> None:
        getattr(self, f"do_{action}")(which, value)

    def pick(self, which: int, fits: Callable[[PodView], bool] = lambda pod: True) -> PodView | None:
        alive = [pod for pod in self.pods.values() if not pod.ended and pod.uid not in self.dead and fits(pod)]
        return alive[which % len(alive)] if alive else None

    def do_control(self, _which: int, _value: int) -> None:
        self.control()

    def do_run(self, _which: int, _value: int) -> None:
        for pod in self.pods.values():
            if pod.phase == "Pending":
                self.pods[pod.uid] = replace(pod, phase="Running", ready=True, container_state="running")

    def do_succeed(self, which: int, value: int) -> None:
        pod = self.pick(which, lambda pod: pod.deletion_timestamp is None)
        for other in [pod, *self.pods.values()] if pod else []:
            if other is not None and other.job_uid == pod.job_uid and not self.pods[other.uid].ended:  # type: ignore[union-attr]
                self.end(self.pods[other.uid], 0, mute=bool(value))

    def do_inject(self, which: int, _value: int) -> None:
        """Inject a sidecar into a pod, and into all pods of its worker group."""
        pod = self.pick(which, lambda pod: pod.deletion_timestamp is None)
        if pod is not None:
            self.sidecars |= {other.uid for other in self.pods.values() if other.job_uid == pod.job_uid}

    def do_age(self, which: int, _value: int) -> None:
        """Turn a Job into one of an earlier release."""
        jobs = list(self.jobs.values())
        if jobs:
            self.earlier.add(jobs[which % len(jobs)].uid)

    def do_fail(self, which: int, value: int) -> None:
        pod = self.pick(which)
        if pod is not None:
            self.end(pod, value)

    def do_disrupt(self, which: int, _value: int) -> None:
        pod = self.pick(which)
        if pod is not None:
            self.terminate(replace(pod, disrupted=True))

    def do_lose_node(self, which: int, _value: int) -> None:
        pod = self.pick(which)
        if pod is not None:
            self.dead |= {other.uid for other in self.pods.values() if other.node == pod.node and not other.terminal}
            for uid in self.dead & set(self.pods):
                self.terminate(replace(self.pods[uid], disrupted=True))

    def do_return_nodes(self, _which: int, _value: int) -> None:
        self.dead.clear()
        self.end_what_terminates()

    def do_end_terminating(self, _which: int, _value: int) -> None:
        self.end_what_terminates()

    def do_delete_job(self, which: int, _value: int) -> None:
        jobs = list(self.jobs.values())
        self.delete(jobs[which % len(jobs)] if jobs else None)

    def do_vanish(self, which: int, _value: int) -> None:
        """Remove a Job and its pods by force."""
        jobs = list(self.jobs.values())
        if jobs:
            job = jobs[which % len(jobs)]
            del self.jobs[job.uid]
            for pod in self.pods_of(job):
                del self.pods[pod.uid]

    def do_suspend_job(self, which: int, value: int) -> None:
        jobs = [job for job in self.jobs.values() if not job.finished and job.deletion_timestamp is None]
        if jobs:
            job = jobs[which % len(jobs)]
            start = None if value else self.now
            self.jobs[job.uid] = replace(job, suspended=bool(value), start_time=start)

    def do_haunt(self, which: int, value: int) -> None:
        """Add a pod of an older experiment of this name, for a step that runs or could start."""
        far = ("WaitingForSteps", "UpstreamFailed")
        near = [
            step.name for step in self.experiment.status.steps if step.state != "Succeeded" and step.reason not in far
        ]
        step = near[which % len(near)] if near else "train"
        self.names += 1
        self.pods[f"old-{self.names}"] = PodView(
            uid=f"old-{self.names}",
            name=f"old-{self.names}",
            namespace="lab",
            step=step,
            attempt=1 + value,
            experiment_uid="an-older-one",
            job_uid="gone",
            node="node-1",
            phase="Running",
            deletion_timestamp=self.now + GRACE,
        )

    def do_take_name(self, which: int, value: int) -> None:
        self.taken = {VARIANTS[0].spec.steps[which % 9].name} if value else set()

    def do_suspend(self, _which: int, value: int) -> None:
        self.experiment = self.experiment.suspended(bool(value))

    def do_edit(self, _which: int, value: int) -> None:
        other = VARIANTS[value]
        self.experiment = other.with_status(self.experiment.status).suspended(self.experiment.spec.suspend)

    def do_wait(self, _which: int, value: int) -> None:
        self.now += timedelta(seconds=value)
        if value > 15:
            self.late = None

    def do_lose_status(self, _which: int, _value: int) -> None:
        self.lose_next_status = True

    def do_lag(self, _which: int, value: int) -> None:
        """Freeze the pods that the operator sees at their current state, or end that."""
        self.late = dict(self.pods) if value else None

    def do_report(self, which: int, value: int) -> None:
        status = self.experiment.status
        running = [step.name for step in status.steps if step.state is StepState.RUNNING]
        if running:
            progress = Progress(step=running[which % len(running)], checkpoint_step=value)
            self.experiment = self.experiment.with_status(status.model_copy(update={"progress": progress}))
