"""Command lines run as an unprivileged user, like in pods, because root passes every permission check."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = 65534

# Modules are imported before the user changes, because the new user may not be able to read this checkout.
_PROGRAM = """
import importlib, json, logging, os, sys
commands, modules = json.loads(sys.argv[1])
from maskrcnn_trainer.cli import main
for module in modules:
    importlib.import_module(module)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(*3 * [UNPRIVILEGED])
    os.setresuid(*3 * [UNPRIVILEGED])
for command in commands:
    lines = []
    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))
    keep = Keep(logging.WARNING)
    logging.getLogger().addHandler(keep)
    try:
        code = main(command)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    logging.getLogger().removeHandler(keep)
    print("RESULT " + json.dumps([code, "\\n".join(lines)]), flush=True)
""".replace("UNPRIVILEGED", str(UNPRIVILEGED))


@dataclass(frozen=True)
class Ended:
    """End of a command: its exit code (or its uncaught exception as text) and its log lines of WARNING and above."""

    code: int | str
    log: str


def run_as_nobody(commands: Sequence[Sequence[str]], modules: Sequence[str] = ()) -> list[Ended]:
    """Run ``maskrcnn`` command lines one after the other in one process of an unprivileged user.

    Args:
        commands: to run.
        modules: imported before the user changes: all that the commands import late.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps([commands, modules])], check=False, capture_output=True, text=True
    )
    results = [
        Ended(*json.loads(line.removeprefix("RESULT "))) for line in done.stdout.splitlines() if line[:7] == "RESULT "
    ]
    assert len(results) == len(commands), done.stderr[-3000:]
    return results


@contextmanager
def open_directory() -> Iterator[Path]:
    """Yield a temporary directory that all users can access; those of pytest belong to one user."""
    folder = Path(tempfile.mkdtemp(prefix="maskrcnn-test-"))
    try:
        folder.chmod(0o777)
        yield folder
    finally:
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
