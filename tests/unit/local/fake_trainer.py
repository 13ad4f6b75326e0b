"""Fake ``maskrcnn`` for tests, which reads the environment variables of a task and behaves as FAKE_TRAINER specifies.

FAKE_TRAINER is a JSON object with a list for each step. The list has the behavior of each attempt; the last one applies
to all further attempts. A behavior is "ok" (the default), "wait" (run until SIGTERM, then exit with 143 after a
checkpoint), "stubborn" (ignore SIGTERM), "silent" (exit with 0 without a termination message), or an exit code.

The command ``report`` records its call and behaves as the first entry of FAKE_TRAINER's list "report": "ok", "wait"
(run until SIGTERM), "stubborn", or an exit code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

arguments = sys.argv[1:]
given = json.loads(os.environ.get("FAKE_TRAINER", "{}"))


def make_report(directory: Path, behavior: object) -> int:
    """Make the report of an experiment; return the exit code."""
    seen = {name: os.environ[name] for name in os.environ if name.startswith(("MASKRCNN_", "CUDA_", "NVIDIA_"))}
    with (directory / "reports.jsonl").open("a") as reports:
        reports.write(json.dumps({"arguments": arguments, "environment": seen}) + "\n")
    if behavior in ("wait", "stubborn"):
        if behavior == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (directory / "report-started").touch()
        while True:
            time.sleep(0.02)
    if behavior != "ok":
        sys.stderr.write(f"12:00:00 INFO    Reading {directory}\n12:00:01 ERROR   {directory}:  no\x1bresults.\n\n")
        return int(str(behavior))
    for name in ("report.json", "report.html"):
        (directory / name).write_text("made")
    return 0


if arguments[0] == "report":
    sys.exit(make_report(Path(arguments[2]), given.get("report", ["ok"])[0]))

results = Path(os.environ["MASKRCNN_RESULTS_DIR"])
attempt = int(os.environ["MASKRCNN_ATTEMPT"])
fingerprint = os.environ["MASKRCNN_FINGERPRINT"]
fingerprints = os.environ.get("MASKRCNN_FINGERPRINTS", fingerprint).split()
task = arguments[arguments.index("--") + 1 :]
behaviors = given.get(results.name, ["ok"])
behavior = behaviors[min(attempt, len(behaviors)) - 1]


PLACE = f" in {results.parents[1]}/raw/a.jpg" if task[0] == "dataset_convert" else ""


def write_result(code: int, error: str | None = None) -> None:
    """Write the termination message and, for success, an artifact and ``result.json``."""
    message = {
        "version": 1,
        "task": task[0],
        "code": code,
        "fingerprint": fingerprint,
        "fingerprints": fingerprints,
        "attempt": attempt,
        "modelPath": None,
        "metrics": {},
        "artifacts": {},
        "checkpointStep": 7 if task[0] == "train" else None,
        "error": None if error is None else {"reason": error, "message": f"{task[0]} found {error}{PLACE}"},
    }
    if code == 0:
        model = results / f"{task[0]}.bin"
        model.write_bytes(b"x" * 10)
        message["artifacts"] = {"model": {"path": str(model), "bytes": 10}}
        message["metrics"] = {"AP": 0.25} if task[0] == "evaluate" else {"count": 3}
        message["modelPath"] = str(model) if task[0] == "train" else None
        if task[0] == "evaluate":
            message["reportPath"] = str(results / "report.html")
        (results / "result.json").write_text(json.dumps(message))
    Path(os.environ["MASKRCNN_TERMINATION_LOG"]).write_text(json.dumps(message))


def report(step: int) -> None:
    record = {"status": "RUNNING", "step": step, "total_steps": 10, "eta": "0:00:09", "graphical": {"loss": 0.5}}
    with (results / "status.json").open("a") as stream:
        stream.write(json.dumps(record) + "\n")


results.mkdir(parents=True, exist_ok=True)
(results / "run.json").write_text(
    json.dumps(
        {
            "version": 1,
            "experimentUid": os.environ["MASKRCNN_EXPERIMENT_UID"],
            "attempt": attempt,
            "fingerprint": fingerprint,
            "fingerprints": fingerprints,
            "token": "t",
        }
    )
)
with (results.parent / "calls.jsonl").open("a") as calls:
    environment = {name: value for name, value in os.environ.items() if name.startswith(("MASKRCNN_", "CUDA_"))}
    calls.write(json.dumps({"step": results.name, "arguments": arguments, "environment": environment}) + "\n")
sys.stdout.write(f"attempt {attempt} of {task[0]}\n")
sys.stdout.flush()

if behavior in ("wait", "stubborn"):
    stop_requested = results / "stop-requested"
    stop_requested.unlink(missing_ok=True)  # an earlier attempt may have left it
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.touch())
    report(3)
    (results / "ready").touch()
    while behavior == "stubborn" or not stop_requested.exists():
        time.sleep(0.02)
    write_result(143, "Stopped")
    sys.exit(143)
if behavior == "silent":
    sys.exit(0)
if behavior != "ok":
    write_result(int(behavior), "InvalidData" if behavior == 64 else "Broken")
    sys.exit(int(behavior))
report(10)
write_result(0)
