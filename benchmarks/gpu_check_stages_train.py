"""Stages of the GPU check that train: speed with a fixed batch and with real input, the pipeline alone, determinism."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from gpu_check_data import batches_of, records_of, spec_of
from gpu_check_network import build, device, peak_gib, prepare, timed_steps
from gpu_check_plan import Options
from input_pipeline import rate

SHOWN = ("dtype", "xla", "tf32", "freeze_bn", "deterministic", "batch", "height", "width", "nlayers")


def settings(options: Options) -> dict[str, object]:
    """Return the options that determine the speed of a step."""
    return {name: value for name, value in asdict(options).items() if name in SHOWN}


def train(options: Options, say: Callable[..., None]) -> None:
    """Measure training steps: with one batch again and again, then with the input pipeline on records."""
    prepare(options)
    records = records_of(options)
    spec = spec_of(options, records)
    batches = batches_of(spec)
    _, step = build(options, spec)
    known = {"device": device(), **settings(options), "records": records.source}
    first = next(batches)
    fixed = itertools.repeat(first)
    say(input="none", first_step_s=round(sum(timed_steps(step, fixed, 1).seconds), 2), peak_gib=peak_gib(), **known)
    timed_steps(step, fixed, options.warm)
    timed = timed_steps(step, fixed, options.steps)
    say(input="fixed", **timed.result(options.batch), peak_gib=peak_gib(), measured=timed.values, **known)
    # cuDNN tries its algorithms at each new number of mask rows
    timed_steps(step, batches, options.warm)
    timed = timed_steps(step, batches, options.steps)
    say(input="records", **timed.result(options.batch), peak_gib=peak_gib(), measured=timed.values, **known)


def pipeline(options: Options, say: Callable[..., None]) -> None:
    """Measure the input pipeline without a training."""
    prepare(options)
    records = records_of(options)
    batches = batches_of(spec_of(options, records))
    speed = rate(lambda: next(batches), options.seconds, warm=4) * options.batch
    cpus = len(os.sched_getaffinity(0))
    say(
        images_s=round(speed, 1),
        cpus=cpus,
        workers=options.workers,
        records=records.source,
        device=device(),
        **settings(options),
    )


def repeat(options: Options, say: Callable[..., None]) -> None:
    """Train the same steps twice from the same state, and compare losses and weights bit by bit."""
    prepare(options)
    records = records_of(options)
    spec = spec_of(options, records)
    batches = list(itertools.islice(batches_of(spec), options.steps))
    network, step = build(options, spec)
    state = step.state()
    weights = {name: variable.numpy() for name, variable in network.named_variables.items()}
    losses, after = [], []
    seconds = 0.0
    for _ in range(2):
        for name, variable in network.named_variables.items():
            variable.assign(weights[name])
        step.restore(state)
        began = time.perf_counter()
        losses.append([timed_steps(step, iter([batch]), 1).values["total_loss"] for batch in batches])
        seconds = time.perf_counter() - began  # of the second time, when all is compiled
        after.append([variable.numpy() for variable in network.named_variables.values()])
    say(
        equal_losses=losses[0] == losses[1],
        equal_weights=all(np.array_equal(a, b) for a, b in zip(*after, strict=True)),
        losses=losses,
        median_ms=round(1e3 * seconds / options.steps, 1),
        images_s=round(options.batch * options.steps / seconds, 2),
        peak_gib=peak_gib(),
        device=device(),
        records=records.source,
        **settings(options),
    )
