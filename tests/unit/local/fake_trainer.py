"""Stands for ``maskrcnn`` in tests: honours the environment that every task honours, and does as FAKE_TRAINER says.

FAKE_TRAINER is JSON: for each step a list of what its attempts do, the last one for all further attempts:
"ok" (the default), "wait" (runs until SIGTERM, then exits 143 after a checkpoint), "stubborn" (ignores SIGTERM),
"silent" (exits 0 without a word), or a number, the exit code to fail with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

results = Path(os.environ["MASKRCNN_RESULTS_DIR"])
attempt = int(os.environ["MASKRCNN_ATTEMPT"])
fingerprint = os.environ["MASKRCNN_FINGERPRINT"]
fingerprints = os.environ.get("MASKRCNN_FINGERPRINTS", fingerprint).split()
arguments = sys.argv[1:]
task = arguments[arguments.index("--") + 1 :]
behaviours = json.loads(os.environ.get("FAKE_TRAINER", "{}")).get(results.name, ["ok"])
behaviour = behaviours[min(attempt, len(behaviours)) - 1]


PLACE = f" of {results.parents[1]}/raw/a.jpg" if task[0] == "dataset_convert" else ""


def speak(code: int, error: str | None = None) -> None:
    """Writes the termination message, and for success an artifact and result.json."""
    word = {
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
        "error": None if error is None else {"reason": error, "message": f"{task[0]} says {error}{PLACE}"},
    }
    if code == 0:
        model = results / f"{task[0]}.bin"
        model.write_bytes(b"x" * 10)
        word["artifacts"] = {"model": {"path": str(model), "bytes": 10}}
        word["metrics"] = {"AP": 0.25} if task[0] == "evaluate" else {"count": 3}
        word["modelPath"] = str(model) if task[0] == "train" else None
        (results / "result.json").write_text(json.dumps(word))
    Path(os.environ["MASKRCNN_TERMINATION_LOG"]).write_text(json.dumps(word))


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
    environment = {name: value for name, value in os.environ.items() if name.startswith("MASKRCNN_")}
    calls.write(json.dumps({"step": results.name, "arguments": arguments, "environment": environment}) + "\n")
sys.stdout.write(f"attempt {attempt} of {task[0]}\n")
sys.stdout.flush()

if behaviour in ("wait", "stubborn"):
    stop_requested = results / "stop-requested"
    stop_requested.unlink(missing_ok=True)  # of an earlier attempt
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.touch())
    report(3)
    (results / "ready").touch()
    while behaviour == "stubborn" or not stop_requested.exists():
        time.sleep(0.02)
    speak(143, "Stopped")
    sys.exit(143)
if behaviour == "silent":
    sys.exit(0)
if behaviour != "ok":
    speak(int(behaviour), "InvalidData" if behaviour == 64 else "Broken")
    sys.exit(int(behaviour))
report(10)
speak(0)
