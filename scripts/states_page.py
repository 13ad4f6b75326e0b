"""Page docs/reference/states.md: chosen lines of kubectl's output, with stable values for what varies; does no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CONDITIONS = ("Ready", "Succeeded", "Reconciling", "Stalled")
CONDITION_FIELDS = ("Message", "Type")
STEP_FIELDS = (
    "Attempt",
    "Disruptions",
    "Exit Code",
    "Message",
    "Model Path",
    "Name",
    "Next Attempt Time",
    "Reason",
    "Report Path",
    "Restarts",
    "State",
)
EXPLAINED = ("attempt", "disruptions", "exitCode", "modelPath", "nextAttemptTime", "reportPath", "restarts")
"""Fields of a step whose name does not say all."""
EVENT_COLUMNS = ("Type", "Reason", "Age", "Message")
AGE = "1m"
TIME = "2026-01-01T00:00:00Z"
UID = "00000000-0000-0000-0000-000000000000"
SUFFIX = "xxxxx"

_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_UID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_GAP = re.compile(r"\s{2,}")

INTRODUCTION = """# What kubectl shows

<!-- Generated: make states -->

One experiment in each state, on a real API server with the real operator and a stub kubelet. Of the output of
`kubectl describe` the page shows the message of the condition Ready, whose reason is the column STATE, the fields of
steps that have a value, and the events. Times, ages, and the ends of names are replaced. What to do in each state:
[reasons](reasons.md). All fields: [MaskRCNNExperiment](resource.md). The other conditions have the same message as
Ready; a dash means that the condition is absent:
"""
EXPLAIN = "kubectl explain maskrcnnexperiment.status.steps"
RUN_BY = "<!-- run: scripts/experiment_states.py, scripts/states_page.py -->"
"""Comment above each block of commands; see docs/contributing/development.md."""


@dataclass(frozen=True)
class Capture:
    """One state as kubectl shows it.

    Args:
        title: heading of its section.
        sentence: what happened.
        experiment: name of the experiment.
        get: output of ``kubectl get``.
        describe: output of ``kubectl describe``.
    """

    title: str
    sentence: str
    experiment: str
    get: str
    describe: str


def page(captures: Sequence[Capture], explain: str) -> str:
    """Return the whole page, which ends with the output of ``kubectl explain``."""
    sections = "\n".join(line for capture in captures for line in section(capture))
    head = [f"| state | {' | '.join(CONDITIONS)} |", f"|---|{'---|' * len(CONDITIONS)}"]
    rows = [condition_row(capture) for capture in captures]
    table = "\n".join([*head, *rows])
    last = "\n".join(["## Fields of a step", "", RUN_BY, "```console", f"$ {EXPLAIN}", *explained(explain), "```", ""])
    return f"{INTRODUCTION}\n{table}\n\n{sections}\n{last}"


def explained(explain: str) -> Iterator[str]:
    """Yield the lines of ``kubectl explain`` on the fields ``EXPLAINED``."""
    for entry in re.split(r"\n(?=  \w+\t)", explain.partition("FIELDS:")[2]):
        if entry.partition("\t")[0].strip() in EXPLAINED:
            yield from (line.rstrip().replace("\t", " ") for line in entry.splitlines() if line.strip())


def condition_row(capture: Capture) -> str:
    """Return the row of the table with the status of each condition."""
    statuses = {found["Type"]: found["Status"] for found in items(capture.describe, "Conditions", last="Type")}
    anchor = capture.title.lower().replace(" ", "-")
    cells = (statuses.get(kind, "-") for kind in CONDITIONS)
    return f"| [{capture.title}](#{anchor}) | {' | '.join(cells)} |"


def section(capture: Capture) -> Iterator[str]:
    """Yield the lines of a state's section."""
    yield from (f"## {capture.title}", "", capture.sentence, "", RUN_BY, "```console")
    yield f"$ kubectl get maskrcnnexperiments {capture.experiment}"
    yield from masked_ages(capture.get)
    yield f"$ kubectl describe maskrcnnexperiment {capture.experiment}"
    yield from (masked(line, capture.experiment) for line in chosen(capture.describe))
    yield from ("```", "")


def chosen(describe: str) -> Iterator[str]:
    """Yield the lines of ``kubectl describe`` that the page shows: condition Ready, steps, and events."""
    ready = [found for found in items(describe, "Conditions", last="Type") if found.get("Type") == "Ready"]
    yield "  Conditions:"
    yield from fields(ready, CONDITION_FIELDS)
    yield "  Steps:"
    yield from fields(items(describe, "Steps", last="State"), STEP_FIELDS)
    yield "Events:"
    yield from aligned([EVENT_COLUMNS, *(event_row(line) for line in events(describe))])


def items(describe: str, section: str, *, last: str) -> list[dict[str, str]]:
    """Return the objects of a list in the status, by field; ``last`` is the field that ends each.

    ``kubectl describe`` puts no line between two objects, and sorts the fields of each by name.
    """
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    status = describe.partition("\nStatus:\n")[2]  # the spec has steps, too
    for line in below(status, f"  {section}:"):
        if line.startswith("     "):  # a list or an object in the object
            continue
        key, _, value = line.strip().partition(":")
        current[key] = value.strip()
        if key == last:
            found.append(current)
            current = {}
    return found


def below(describe: str, heading: str) -> Iterator[str]:
    """Yield the lines that stand below a heading, indented more than it."""
    depth = len(heading) - len(heading.lstrip())
    lines = iter(describe.splitlines())
    for line in lines:
        if line == heading:
            break
    for line in lines:
        if len(line) - len(line.lstrip()) <= depth:
            return
        yield line


def fields(found: Iterable[dict[str, str]], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of these fields that have a value other than 0, with their values in one column."""
    kept = [(name, item[name]) for item in found for name in names if item.get(name, "") not in ("", "0")]
    width = max((len(name) for name, _ in kept), default=0) + 1
    yield from (f"    {f'{name}:'.ljust(width)}  {value}" for name, value in kept)


def events(describe: str) -> list[str]:
    """Return the rows of the table of events."""
    return list(below(describe, "Events:"))[2:]


def event_row(line: str) -> tuple[str, ...]:
    """Return the cells of an event that the page shows; the one that is left out names the operator."""
    kind, reason, _, _, message = _GAP.split(line.strip(), maxsplit=4)
    return kind, reason, AGE, message


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table with columns as wide as their cells."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def masked_ages(get: str) -> Iterator[str]:
    """Yield the lines of ``kubectl get`` with one age for all, which is the last column."""
    head, *rows = get.rstrip().splitlines()
    yield head
    yield from (re.sub(r"\S+$", AGE, row) for row in rows)


def masked(line: str, experiment: str) -> str:
    """Replace times, uids, and the ends of the names of Jobs and pods, which differ between two runs."""
    line = _UID.sub(UID, _TIME.sub(TIME, line))
    # <experiment>-<step>-<attempt>-<hash>, and for a pod [-<index>]-<random>
    name = rf"\b({re.escape(experiment)}-[a-z][a-z0-9-]*?-\d+)-[a-z0-9]{{5}}(-\d+)?(-[a-z0-9]{{5}})?\b"

    def end(match: re.Match[str]) -> str:
        start, index, pod = match.groups()
        return f"{start}-{SUFFIX}{index or ''}{f'-{SUFFIX}' if pod else ''}"

    return re.sub(name, end, line)
