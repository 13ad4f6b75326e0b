"""Table of a GPU check's results in Markdown, next to published numbers and this project's aims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
Runs = Mapping[str, Sequence[Entry]]

NOT_MEASURED = "not measured"
KERNELS_SHOWN = 15
LENGTH = 60
NO_XLA_KERNEL = "Detected unsupported operations"


@dataclass(frozen=True)
class Target:
    """Number to compare with.

    Attributes:
        label: what is measured.
        run: name of the run.
        where: values that the result has.
        key: of the number in the result.
        aim: of this project on one H100; empty if there is none.
        published: number of the peer; empty if there is none.
        percent: whether the number is a share, shown in percent.
    """

    label: str
    run: str
    where: Mapping[str, Any]
    key: str
    aim: str = ""
    published: str = ""
    percent: bool = False


RECORDS = {"input": "records"}
TARGETS = (
    Target("training images/s, mixed_float16, batch 4", "train-amp", {**RECORDS, "batch": 4}, "images_s", "", "28.6"),
    Target(
        "training images/s, mixed_float16 with XLA, batch 4",
        "train-amp-xla",
        {**RECORDS, "batch": 4},
        "images_s",
        "at least 60",
    ),
    Target(
        "share of such a step that waits for input",
        "train-amp-xla",
        {**RECORDS, "batch": 4},
        "waiting_share",
        "at most 10%",
        percent=True,
    ),
    Target("inference images/s, mixed_float16, batch 6", "inference-amp", {"batch": 6}, "images_s", "", "60.8"),
    Target("inference images/s, mixed_float16, batch 24", "inference-amp", {"batch": 24}, "images_s", "", "80.7"),
    *(
        Target(
            f"inference images/s, mixed_float16 with XLA, batch {batch}",
            "inference-amp-xla",
            {"batch": batch},
            "images_s",
            "at least 160",
        )
        for batch in (6, 24)
    ),
)
"""The published numbers are those of NVIDIA DeepLearningExamples, Mask R-CNN for TensorFlow 2, with AMP on an A100."""


def number(value: Any, digits: int = 1) -> str:
    """Return a number as text; NOT_MEASURED for None and for values that aren't numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOT_MEASURED
    return f"{value:,.{digits}f}"


def percent(value: Any) -> str:
    """Return a share as text; NOT_MEASURED if it isn't a number."""
    return NOT_MEASURED if number(value) == NOT_MEASURED else f"{100 * value:.1f}%"


def results(runs: Runs, stage: str) -> list[tuple[str, Entry]]:
    """Return the results of a stage with the names of their runs."""
    return [(name, entry) for name, entries in runs.items() for entry in entries if entry.get("stage") == stage]


def found(runs: Runs, run: str, where: Mapping[str, Any]) -> Entry:
    """Return the last result of a run that has all these values; empty if there is none."""
    matching = [e for e in runs.get(run, ()) if all(e.get(key) == value for key, value in where.items())]
    return matching[-1] if matching else {}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; one line that states that nothing was measured if there are no rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines] if lines else [f"{NOT_MEASURED.capitalize()}."]


def table(runs: Runs, *, rehearsal: bool) -> str:
    """Return the whole table.

    Args:
        runs: the entries of each run, as in results.jsonl. Results of the other kind of check are left out.
        rehearsal: whether the check was one on the CPU; no number is then shown next to those of a GPU.
    """
    kept = {name: entries for name, entries in runs.items() if _is_of(entries, rehearsal)}
    title = "Rehearsal of the GPU check on a CPU at small sizes: no number of a GPU" if rehearsal else "GPU check"
    lines = [f"# {title}", "", *_device(kept), ""]
    parts: tuple[tuple[str, Callable[[Runs], list[str]]], ...] = (
        ("Compared with aims and published numbers", lambda runs: _targets({} if rehearsal else runs)),
        ("Training", _training),
        ("Inference", _inference),
        ("Parity with the CPU", _parity),
        ("Input pipeline alone", _pipeline),
        ("ROIAlign", _roi_align),
        ("NMS", _nms),
        ("Time by kernel", _kernels),
        ("Whole commands", _commands),
        ("Determinism", _determinism),
        ("Runs that failed", _failures),
    )
    for heading, part in parts:
        lines += [f"## {heading}", "", *part(kept), ""]
    return "\n".join(lines)


def _is_of(entries: Sequence[Entry], rehearsal: bool) -> bool:
    return bool(entries) and bool(entries[0].get("rehearsal")) == rehearsal


def _device(runs: Runs) -> list[str]:
    entry = next((e for _, e in results(runs, "smoke") if "gpus" in e), None)
    if entry is None:
        return [f"Device: {NOT_MEASURED}."]
    names = [str(gpu.get("device_name", "GPU")) for gpu in entry["gpus"]]
    cuda = f" for CUDA {entry['cuda']} and cuDNN {entry.get('cudnn')}" if entry.get("cuda") else ""
    device = f"{len(names)} x {names[0]}" if names else "the CPU"
    return [f"Device: {device}, {entry['cpus']} CPUs; TensorFlow {entry['tensorflow']}{cuda}."]


def _targets(runs: Runs) -> list[str]:
    rows = []
    for target in TARGETS:
        value = found(runs, target.run, target.where).get(target.key)
        shown = percent(value) if target.percent else number(value)
        rows.append((target.label, shown, target.aim or "-", target.published or "-"))
    return markdown(("832x1344", "measured", "aim on one H100", "DeepLearningExamples, A100"), rows)


def _training(runs: Runs) -> list[str]:
    rows = []
    for name in dict.fromkeys(name for name, _ in results(runs, "train")):
        first, fixed, real = (found(runs, name, {"input": kind}) for kind in ("none", "fixed", "records"))
        rows.append(
            (
                name,
                _setting(first),
                number(fixed.get("images_s")),
                number(real.get("images_s")),
                percent(real.get("waiting_share")),
                number(first.get("first_step_s")),
                number((real or fixed or first).get("peak_gib"), 2),
            )
        )
    head = (
        "run",
        "setting",
        "images/s, one batch",
        "images/s, records",
        "waits for input",
        "first step, s",
        "peak, GiB",
    )
    return markdown(head, rows)


def _setting(entry: Entry) -> str:
    words = [str(entry.get("dtype", "")), "XLA" if entry.get("xla") else "", f"batch {entry.get('batch')}"]
    return ", ".join(word for word in [*words, f"{entry.get('height')}x{entry.get('width')}"] if word)


def _inference(runs: Runs) -> list[str]:
    rows = [
        (name, _setting(e), number(e.get("images_s")), number(e.get("median_ms")), number(e.get("peak_gib"), 2))
        for name, e in results(runs, "inference")
    ]
    return markdown(("run", "setting", "images/s", "ms a batch", "peak, GiB"), rows)


def _parity(runs: Runs) -> list[str]:
    rows = []
    for name, entry in results(runs, "parity"):
        if "largest" not in entry:
            continue
        matched = percent(entry.get("detections_matched"))
        first, largest = (f"{entry[key]:.1e}" for key in ("largest_at_first_step", "largest"))
        rows.append((name, f"{entry['dtype']} on {entry['device']}", first, largest, str(entry["steps"]), matched))
    head = ("run", "setting", "losses differ at step 1", "at most", "steps", "detections matched")
    return markdown(head, rows)


def _pipeline(runs: Runs) -> list[str]:
    rows = [
        (number(e.get("images_s")), str(e["cpus"]), f"{e['height']}x{e['width']}", str(e["records"]))
        for _, e in results(runs, "pipeline")
    ]
    return markdown(("images/s", "CPUs", "size", "records"), rows)


def _implementation(entry: Entry, key: str) -> str:
    return f"{entry[key]}{', XLA' if entry['xla'] else ''}"


def _roi_align(runs: Runs) -> list[str]:
    rows = []
    for _, e in results(runs, "roi_align"):
        size = f"{e['batch']} x {e['rois']} RoIs, {e['bins']}x{e['bins']}"
        times = [number(e.get(key), 2) for key in ("forward_ms", "both_ms")]
        differences = [f"{e[key]:.1e}" if key in e else _error(e) for key in ("forward_differs", "gradient_differs")]
        rows.append((_implementation(e, "roi_align"), size, *times, *differences))
    head = ("implementation", "size", "forward, ms", "with backward, ms", "values differ", "gradients differ")
    return markdown(head, rows)


def _error(entry: Entry) -> str:
    error = str(entry.get("error", NOT_MEASURED))
    return "no XLA kernel" if NO_XLA_KERNEL in error else error[:LENGTH].replace("\n", " ")


def _nms(runs: Runs) -> list[str]:
    rows = []
    for _, e in results(runs, "nms"):
        equal = ("yes" if e["equal"] else "NO") if "equal" in e else _error(e)
        size = f"{e['groups']} x {e['boxes']}, {e['classes']} classes"
        rows.append((_implementation(e, "nms"), size, number(e.get("ms"), 2), equal, number(e.get("peak_gib"), 2)))
    return markdown(("implementation", "boxes", "ms", "equal", "peak, GiB"), rows)


def _kernels(runs: Runs) -> list[str]:
    entries = [e for stage in ("kernels", "kernels_inference") for _, e in results(runs, stage)]
    lines: list[str] = []
    for entry in entries:
        lines += [
            f"{entry['traced']}, {_setting(entry)}: {entry['wall_ms']} ms; {entry['source']}: {entry['sum_ms']} ms",
            "",
            *markdown(
                ("kernel", "calls", "ms", "share"),
                [
                    (name, number(calls), number(ms, 2), percent(share))
                    for name, calls, ms, share in entry["top"][:KERNELS_SHOWN]
                ],
            ),
            "",
        ]
    return lines[:-1] or markdown((), ())


def _commands(runs: Runs) -> list[str]:
    rows = []
    for _, e in results(runs, "commands"):
        speed = number(max(e["images_s"], default=None))
        metrics = ", ".join(f"{key} {value:.4g}" for key, value in list(e["metrics"].items())[:4])
        processes = str(e.get("processes", 1))
        rows.append((e["command"], processes, str(e["exit_code"]), number(e["seconds"]), speed, metrics or "-"))
    return markdown(("command", "processes", "exit code", "seconds", "highest images/s", "metrics"), rows)


def _determinism(runs: Runs) -> list[str]:
    rows = [
        (name, *("yes" if e[key] else "NO" for key in ("equal_losses", "equal_weights")), number(e.get("median_ms")))
        for name, e in results(runs, "repeat")
    ]
    return markdown(("run", "equal losses", "equal weights", "ms a step"), rows)


def _failures(runs: Runs) -> list[str]:
    rows = []
    for name, entries in runs.items():
        ended = next((e["ended"] for e in entries if "ended" in e), "did not end")
        if ended != 0:
            rows.append((name, str(ended), f"logs/{name}.log"))
    return markdown(("run", "ended", "log"), rows) if rows else ["None."]
