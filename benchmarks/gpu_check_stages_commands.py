"""Stage of the GPU check that runs whole commands: train on all GPUs, evaluate, export."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_check_data import fields_of, records_of
from gpu_check_plan import InvalidArgument, Options
from gpu_check_runs import python
from maskrcnn_trainer.shared.messages import RESULT_FILE, STATUS_FILE

LINES_OF_A_FAILURE = 20


def commands(options: Options, say: Callable[..., None]) -> None:
    """Train with mixed precision on every GPU, evaluate the result, and export it to ONNX."""
    import tensorflow as tf

    # This process only counts the GPUs; the commands use them.
    processes = options.gpus or max(1, len(tf.config.list_physical_devices("GPU")))
    records = records_of(options)
    if not (records.validation and records.annotations):
        raise InvalidArgument("commands: records= needs val_records= and val_json=, too; or give data=DIR")
    folder = Path(options.out or tempfile.mkdtemp(prefix="gpu-check-"))
    shutil.rmtree(folder, ignore_errors=True)  # a training would continue an older one
    folder.mkdir(parents=True)
    spec = folder / "spec.yaml"
    spec.write_text(json.dumps(fields_of(options, records), indent=1))  # JSON is YAML, too
    trained = folder / "trained"
    train = ["train", "-e", str(spec), "-d", str(trained), "--gpus", str(processes), "--use-amp"]
    if not _ran(train, trained, say, processes=processes, steps=options.steps, batch=options.batch):
        raise RuntimeError("maskrcnn train has failed")
    model = _result(trained)["modelPath"]
    evaluated, exported = folder / "evaluated", folder / "exported"
    done = [
        _ran(["evaluate", "-e", str(spec), "-m", model, "-r", str(evaluated)], evaluated, say),
        _ran(
            ["export", "-e", str(spec), "-m", model, "-o", str(exported / "model.onnx"), "-r", str(exported)],
            exported,
            say,
        ),
    ]
    if not all(done):
        raise RuntimeError("a command has failed")


def _ran(command: list[str], results: Path, say: Callable[..., None], **known: int) -> bool:
    """Run a command of the trainer, print its results, and return whether it has succeeded."""
    began = time.monotonic()
    done = subprocess.run(
        [*python(), "-m", "maskrcnn_trainer.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()
    print("\n".join(lines if done.returncode == 0 else lines[-LINES_OF_A_FAILURE:]), flush=True)
    say(
        command=f"maskrcnn {command[0]}",
        exit_code=done.returncode,
        seconds=round(time.monotonic() - began, 1),
        running_on=next((line.partition("Running on ")[2] for line in lines if "Running on " in line), ""),
        images_s=_speeds(results / STATUS_FILE),
        metrics=_result(results).get("metrics", {}),
        **known,
    )
    return done.returncode == 0


def _result(folder: Path) -> dict[str, Any]:
    file = folder / RESULT_FILE
    result: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return result


def _speeds(status: Path) -> list[float]:
    """Return the images/s of each record of a training, over all processes."""
    if not status.is_file():
        return []
    records = [json.loads(line) for line in status.read_text().splitlines() if line.strip()]
    found = [(record.get("graphical") or {}).get("images_per_second") for record in records]
    return [round(speed, 2) for speed in found if speed is not None]
