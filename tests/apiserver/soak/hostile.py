"""Objects that an attacker or a faulty tool may create to disturb the operator. No I/O.

None of them belongs to a valid experiment: they show that one tenant's objects don't disturb other tenants.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.apiserver.history import LABEL
from tests.apiserver.pod_scripts import INDEX_ANNOTATION, Play
from tests.apiserver.runtime.experiments import CONVERT, manifest

EXPERIMENTS = "/apis/maskrcnn.dev/v1alpha1/namespaces/{}/maskrcnnexperiments"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"

TERMINATION_MESSAGES: dict[str, Play] = {
    "infinite-code": Play(exit_code=1, message='{"version":1,"code":1e999}'),
    "huge-checkpoint": Play(exit_code=1, message='{"version":1,"code":1,"checkpointStep":1e300}'),
    "huge-artifact": Play(
        exit_code=1, message=f'{{"version":1,"code":1,"artifacts":{{"m":{{"path":"/x","bytes":{10**21}}}}}}}'
    ),
    "nested": Play(exit_code=1, message="[" * 2000),
    "surrogate": Play(
        exit_code=1, message='{"version":1,"code":1,"error":{"reason":"Error","message":"caf\\udce9.jpg"}}'
    ),
    "control": Play(exit_code=1, message="Traceback\nbad \x7f\x1b[31m byte"),
}
"""First attempts with harmful termination messages, by name; the next attempt succeeds."""


@dataclass(frozen=True)
class HostileObject:
    """One object to create.

    Attributes:
        what: description.
        path: of its collection, with a placeholder for the namespace.
        body: JSON as text, because some are nested too deeply for a library.
    """

    what: str
    path: str
    body: str


def hostile_objects(rng: random.Random) -> Iterator[HostileObject]:
    """Yield one object of each kind, with order and sizes drawn from ``rng``."""
    made = [*_pods(rng), *_jobs(rng), *_experiments(rng)]
    rng.shuffle(made)
    yield from made


def _name(rng: random.Random) -> str:
    return f"hostile-{rng.randrange(16**8):08x}"


def _pods(rng: random.Random) -> Iterator[HostileObject]:
    labels = {f"{LABEL}/experiment": "plain-0", f"{LABEL}/step": "train"}
    digits = rng.randrange(5000, 100_000)
    odd = [
        ("a pod whose index has thousands of digits", {}, {INDEX_ANNOTATION: "9" * digits}),
        ("a pod whose attempt has 63 digits", {f"{LABEL}/attempt": "9" * 63}, {}),
        ("a pod whose index is a digit that int() refuses", {}, {INDEX_ANNOTATION: "²"}),
        ("a pod with 250 kB of annotations", {}, {f"{LABEL}/fingerprint": "f" * 250_000}),
    ]
    for what, more_labels, given in odd:
        metadata = {"name": _name(rng), "labels": {**labels, **more_labels}, "annotations": given}
        yield HostileObject(what, PODS, json.dumps({"metadata": metadata, "spec": _pod_spec()}))


def _jobs(rng: random.Random) -> Iterator[HostileObject]:
    labels = {f"{LABEL}/experiment": "plain-0", f"{LABEL}/step": "train", f"{LABEL}/attempt": "9" * 63}
    metadata = {"name": _name(rng), "labels": labels, "annotations": {f"{LABEL}/experiment-uid": "u" * 250_000}}
    spec = {"suspend": True, "template": {"spec": {**_pod_spec(), "restartPolicy": "Never"}}}
    yield HostileObject("a Job with 250 kB of annotations", JOBS, json.dumps({"metadata": metadata, "spec": spec}))


def _experiments(rng: random.Random) -> Iterator[HostileObject]:
    for depth in (200, rng.randrange(600, 960), rng.randrange(1100, 4000)):
        affinity = '{"a":' * depth + "1" + "}" * depth
        yield _experiment(rng, f"an experiment nested {depth} deep", f'{{"affinity":{affinity}}}')
    annotations = {f"a{index}": "x" * 18_000 for index in range(60)}
    yield _experiment(rng, "an experiment of 1.1 MB", json.dumps({"annotations": annotations}))
    volumes = [{"name": f"v{index}", "emptyDir": {"sizeLimit": "9" * 3000}} for index in range(30)]
    yield _experiment(rng, "an experiment with invalid volumes", json.dumps({"volumes": volumes}))


def _experiment(rng: random.Random, what: str, pod_overrides: str) -> HostileObject:
    text = json.dumps(manifest(_name(rng), CONVERT, suspend=True))
    body = text.replace('"suspend": true', f'"suspend": true, "podOverrides": {pod_overrides}')
    return HostileObject(what, EXPERIMENTS, body)


def _pod_spec() -> dict[str, Any]:
    return {"containers": [{"name": "trainer", "image": "nobody/pulls:this"}]}
