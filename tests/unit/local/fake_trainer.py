"""Fake ``maskrcnn`` for tests, which reads the environment variables of a task and behaves as FAKE_TRAINER specifies.

FAKE_TRAINER is a JSON object with a list for each step. The list has the behavior of each attempt; the last one applies
to all further attempts. A behavior is "ok" (the default), "wait" (run until SIGTERM, then exit with 143 after a
checkpoint), "stubborn" (ignore SIGTERM), "silent" (exit with 0 without a termination message), "slow" (like "ok", with
half a second before and after its only record), or an exit code.

With results in object storage, the directory ``store`` of the bench takes the place of the bucket, and
MASKRCNN_WORKING_DIR that of the results directory. Such an attempt may be "superseded" by attempt 7 (75), "unreported"
(64 without a termination message), or "unpublished" (75 after its result is complete on this machine).

The command ``artifacts`` lists that directory, or behaves as the first entry of FAKE_TRAINER's list "artifacts": "ok",
"wait", "retrying" (log a warning three times, and continue like "ok"), "garbage" (print no JSON), or an exit code.

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
from typing import Any

arguments = sys.argv[1:]
given = json.loads(os.environ.get("FAKE_TRAINER", "{}"))


BENCH = Path(os.environ.get("TEST_BENCH", "."))
STORE = BENCH / "store"


def read_json(file: Path) -> Any:
    """Return the content of a file of the store; None if it is absent."""
    return json.loads(file.read_text()) if file.exists() else None


def list_artifacts(behavior: object) -> int:
    """Print what the store has of one experiment, as ``maskrcnn artifacts URL list NAME --json``."""
    seen = {name: os.environ[name] for name in os.environ if name.startswith("MASKRCNN_")}
    with (BENCH / "listings.jsonl").open("a") as listings:
        listings.write(json.dumps({"arguments": arguments, "environment": seen}) + "\n")
    while behavior == "wait":
        time.sleep(0.02)
    if behavior == "retrying":
        sys.stderr.write("12:00:01 WARNING s3://bucket/prefix/shapes: there is no connection\n" * 3)
        behavior = "ok"
    if behavior == "garbage":
        sys.stdout.write("No results.\n")
        return 0
    if behavior != "ok":
        sys.stderr.write("12:00:01 ERROR   the bucket doesn't exist\n")
        return int(str(behavior))
    owner = read_json(STORE / "owner")
    steps = {
        file.stem: {"current": {"fingerprint": read_json(file), "complete": True}, "previous": None}
        for file in STORE.glob("*.step")
    }
    found = {"owner": owner and owner["owner"], "ownerEpoch": owner["epoch"] if owner else 0, "steps": steps}
    sys.stdout.write(json.dumps({"experiments": {arguments[3]: found} if owner or steps else {}}))
    return 0


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
    page = Path(arguments[arguments.index("-o") + 1]) if "-o" in arguments else directory / "report.html"
    for file in (page.with_suffix(".json"), page):
        file.write_text("made")
    return 0


if arguments[0] == "artifacts":
    sys.exit(list_artifacts(given.get("artifacts", ["ok"])[0]))
if arguments[0] == "report":
    place = BENCH if "://" in arguments[2] else Path(arguments[2])
    sys.exit(make_report(place, given.get("report", ["ok"])[0]))

in_store = "://" in os.environ["MASKRCNN_RESULTS_DIR"]
results = Path(os.environ["MASKRCNN_RESULTS_DIR"])
if in_store:
    results = Path(os.environ["MASKRCNN_WORKING_DIR"]) / results.parent.name / results.name
attempt = int(os.environ["MASKRCNN_ATTEMPT"])
fingerprint = os.environ["MASKRCNN_FINGERPRINT"]
if in_store and os.environ.get("FAKE_NOTICE"):
    results.parent.mkdir(parents=True, exist_ok=True)
    notices = results.with_name(f".{results.name}.notices.jsonl")
    notices.write_text(json.dumps({"notice": f"{results} {os.environ['FAKE_NOTICE']}"}) + "\n")
fingerprints = os.environ.get("MASKRCNN_FINGERPRINTS", fingerprint).split()
task = arguments[arguments.index("--") + 1 :]
behaviors = given.get(results.name, ["ok"])
behavior = behaviors[min(attempt, len(behaviors)) - 1]


PLACE = f" in {results.parents[1]}/raw/a.jpg" if task[0] == "dataset_convert" else ""


def write_result(code: int, error: str | None = None, *, text: str = "", **more: Any) -> None:
    """Write the termination message and, for success, an artifact and ``result.json``."""
    message: dict[str, Any] = {
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
        "error": None
        if error is None
        else {"reason": error, "message": text or f"{task[0]} found {error}{PLACE}", **more},
    }
    if code == 0:
        model = results / f"{task[0]}.bin"
        model.write_bytes(b"x" * 10)
        digest = {"sha256": "d" * 64} if in_store else {}
        message["artifacts"] = {"model": {"path": str(model), "bytes": 10, **digest}}
        if behavior == "unpublished":
            message["artifacts"] = {}
        message["metrics"] = {"AP": 0.25} if task[0] == "evaluate" else {"count": 3}
        message["modelPath"] = str(model) if task[0] == "train" else None
        if task[0] == "evaluate":
            message["reportPath"] = str(results / "report.html")
        (results / "result.json").write_text(json.dumps(message))
        if in_store and behavior != "unpublished":
            # a termination message has no hashes
            message["artifacts"] = {}
            (STORE / f"{results.name}.step").write_text(json.dumps(fingerprint))
            (STORE / f"{results.name}.result").write_text((results / "result.json").read_text())
    Path(os.environ["MASKRCNN_TERMINATION_LOG"]).write_text(json.dumps(message))


def report(step: int) -> None:
    record = {"status": "RUNNING", "step": step, "total_steps": 10, "eta": "0:00:09", "graphical": {"loss": 0.5}}
    with (results / "status.json").open("a") as stream:
        stream.write(json.dumps(record) + "\n")


def record_call() -> None:
    """Record this attempt."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(("MASKRCNN_", "CUDA_"))}
    with ((BENCH if in_store else results.parent) / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"step": results.name, "arguments": arguments, "environment": environment}) + "\n")


def claim() -> None:
    """Claim the step in the store, or end as ``maskrcnn launch`` does."""
    STORE.mkdir(exist_ok=True)
    mine = {"id": os.environ["MASKRCNN_OWNER_ID"], "namespace": "", "name": "shapes"}
    owner = read_json(STORE / "owner") or {"owner": mine, "epoch": 1}
    state = f"{owner['owner']['id']}/{owner['epoch']}"
    if os.environ.get("MASKRCNN_TAKE_OVER_FROM") == state:
        owner = {"owner": mine, "epoch": owner["epoch"] + 1}
    (STORE / "owner").write_text(json.dumps(owner))
    if owner["owner"] != mine:
        write_result(64, "AnothersOwner", text=f"it is another's; give --take-over-from {state}")
        sys.exit(64)
    if behavior == "superseded":
        write_result(75, "Superseded", text="The results were taken over by attempt 7", laterAttempt=7)
        sys.exit(75)
    if behavior == "unreported":
        sys.stdout.write("12:00:00 ERROR   the variable is wrong\n")
        sys.exit(64)
    if read_json(STORE / f"{results.name}.step") == fingerprint:
        done = read_json(STORE / f"{results.name}.result")
        message = done | {"attempt": attempt, "upToDate": True}
        Path(os.environ["MASKRCNN_TERMINATION_LOG"]).write_text(json.dumps(message))
        sys.exit(0)


if in_store:
    record_call()
    claim()
results.mkdir(parents=True, exist_ok=True)
if in_store:
    # what launch loads from the store before the claim of the directory
    (results / "status.json").write_text(json.dumps({"step": 9, "total_steps": 10, "status": "RUNNING"}) + "\n")
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
if not in_store:
    record_call()
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
if behavior == "unpublished":
    write_result(0)
    write_result(75, "StoreUnavailable")
    sys.exit(75)
if behavior not in ("ok", "slow"):
    write_result(int(behavior), "InvalidData" if behavior == 64 else "Broken")
    sys.exit(int(behavior))
pause = 0.5 if behavior == "slow" else 0
time.sleep(pause)
report(10)
time.sleep(pause)
write_result(0)
