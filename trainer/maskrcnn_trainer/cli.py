"""``maskrcnn``: every task by the name and flags that users of the original toolkit know."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK, EXIT_STOPPED, InvalidInput, TaskError, as_task_error
from maskrcnn_trainer.shared.files import named_in_errors
from maskrcnn_trainer.shared.messages import TaskFailure
from maskrcnn_trainer.shared.standard_streams import ClosedStream, open_closed_streams
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.spelling import use_flags_of, use_names
from maskrcnn_trainer.task.arguments import TaskParser, add_key, key_of, with_hyphens
from maskrcnn_trainer.task.environment import TaskEnvironment, horovod_number
from maskrcnn_trainer.task.progress import setup_logging
from maskrcnn_trainer.task.termination import termination_message, write_termination_message

log = logging.getLogger("maskrcnn")

Runner = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one task.

    Returns:
        0 done; 64 what was asked for cannot work; 75 try again; 143 stopped; 70 workspace full; others: failed.
    """
    # TensorFlow's start-up chatter says nothing that a user can act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    setup_logging()
    given = list(sys.argv[1:] if arguments is None else arguments)
    use_names({})
    use_flags_of(given)
    parsed: argparse.Namespace | None = None
    try:
        setup_logging(horovod_number("RANK", least=0))
        parsed = build_parser().parse_args(with_hyphens(given))
        log.info("maskrcnn %s: %s", version(), parsed.task)
        run: Runner = parsed.run
        return run(parsed)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except BrokenPipeError:
        # Whoever read our output went away (maskrcnn spec import ... | head); nothing is left to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INVALID
    except Exception as error:
        told = as_task_error(error)
        if told is None:
            raise
        log.error("%s", told)
        log.debug("the error in full", exc_info=error)
        if parsed is not None:
            _write_termination_message(parsed.task, told)
        return told.exit_code


def _write_termination_message(task: str, error: TaskError) -> None:
    """Write the termination message of a task that was refused before it had a report; launch writes its own."""
    try:
        environment = TaskEnvironment.from_environ()
        if task == "launch" or horovod_number("RANK", least=0) > 0:
            return
    except InvalidInput:
        return
    said = TaskFailure(error.reason, str(error))
    write_termination_message(environment, termination_message(task, error.exit_code, environment, error=said))


def entry() -> NoReturn:
    """``main`` as a process: ends at once when the task has ended.

    TensorFlow's input threads call Python. One that does so while the interpreter is taken down waits for ever, and the
    process with it; whatever a task writes is written and flushed by then, so nothing is lost by not taking it down.
    """
    # modules and traced graphs are millions of objects that stay: looking for cycles takes a tenth of a start
    gc.set_threshold(100_000, 20, 20)
    open_closed_streams()
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            log.error("%s", end.code)
    except Exception:
        log.exception("the task failed")
        code = 1
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all tasks; building it imports no TensorFlow."""
    parser = TaskParser(prog="maskrcnn", description="Mask R-CNN: convert, train, evaluate, prune, infer, export.")
    parser.add_argument("--version", action="version", version=f"maskrcnn {version()}")
    tasks = parser.add_subparsers(title="tasks", dest="task", required=True, metavar="TASK", parser_class=TaskParser)

    for name, entry in TASKS.items():
        task, command = name.command, importlib.import_module(entry.module)
        aliases = [task.replace("_", "-")] if "_" in task else []
        flags = tasks.add_parser(task, aliases=aliases, help=entry.help, description=entry.description)
        command.add_arguments(flags)
        flags.set_defaults(run=command.run)
        if entry.several_processes:
            flags.set_defaults(check=command.check)

    start = tasks.add_parser(
        "launch",
        help="one node's processes of a task, for a pod or a script",
        description="Start one node's processes of a task and wait for them; on several nodes, run it once on each.",
    )
    start.add_argument("--nodes", type=int, default=1, help="nodes of the worker group")
    start.add_argument("--node-rank", type=int, default=0, help="which of them this is, from 0")
    start.add_argument("--processes-per-node", type=int, default=1, help="one per GPU, or per share of the CPUs")
    start.add_argument("--rendezvous", metavar="HOST:PORT", help="node 0, as the others reach it")
    start.add_argument(
        "--threads-per-process", type=int, help="CPU threads of a process; the CPUs are divided otherwise"
    )
    start.add_argument("--keep-logs", action="store_true", help="also in logs/ of MASKRCNN_RESULTS_DIR, size-bounded")
    start.add_argument(
        "command", nargs=argparse.REMAINDER, type=str, metavar="-- TASK ...", help="the task and its arguments"
    )
    start.set_defaults(run=_launch)

    spec = tasks.add_parser("spec", help="work on experiment specs", description="Work on experiment specs.")
    actions = spec.add_subparsers(
        title="actions", dest="action", required=True, metavar="ACTION", parser_class=TaskParser
    )
    importing = actions.add_parser(
        "import",
        help="a prototxt spec of the original toolkit as a MaskRCNNExperiment",
        description="Print a prototxt spec of the original toolkit as a MaskRCNNExperiment manifest.",
    )
    importing.add_argument("spec", help="the prototxt file")
    importing.add_argument("--claim", default="maskrcnn", help="name of the workspace's PersistentVolumeClaim")
    importing.set_defaults(run=_import_spec)

    decrypt = tasks.add_parser(
        "decrypt",
        help="an encrypted model file without its encryption",
        description="Write an encrypted model file (a .tlt or .etlt) without its encryption.",
    )
    decrypt.add_argument("-m", "--model", required=True, help="the encrypted file")
    decrypt.add_argument("-o", "--output", required=True, help="where to write the plain one; must not exist")
    add_key(decrypt)
    decrypt.set_defaults(run=_decrypt)
    return parser


def _launch(arguments: argparse.Namespace) -> int:
    from maskrcnn_trainer.launch import LaunchSettings, launch

    task = list(arguments.command)
    if task[:1] == ["--"]:
        task = task[1:]
    return launch(
        LaunchSettings(
            nodes=arguments.nodes,
            node_rank=arguments.node_rank,
            processes=arguments.processes_per_node,
            rendezvous=_host_and_port(arguments.rendezvous),
            task=tuple(task),
            threads=arguments.threads_per_process,
            keep_logs=arguments.keep_logs,
        ),
        check=lambda node_rank: _check(task, node_rank),
    )


def _check(task: Sequence[str], node_rank: int) -> None:
    """Check the command line of a task that runs as several processes."""
    parsed = build_parser().parse_args(with_hyphens(task))
    parsed.check(parsed, node_rank)


def _host_and_port(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"--rendezvous {text!r}: expected HOST:PORT, such as train-0.train:29500")
    return host, int(port)


def _import_spec(arguments: argparse.Namespace) -> int:
    from maskrcnn_trainer.spec.importing import import_spec

    imported = import_spec(Path(arguments.spec), claim=arguments.claim)
    for line in imported.report:
        log.info("%s", line)
    _print(imported.manifest)
    return EXIT_OK


def _print(text: str) -> None:
    """Write to standard output at once: an error at the end of the process would go unnoticed.

    Raises:
        InvalidInput: it is closed.
        OSError: it cannot be written; BrokenPipeError where nothing reads it any more.
    """
    if isinstance(sys.stdout, ClosedStream):
        raise InvalidInput("standard output is closed; redirect it to a file (> FILE)")
    with named_in_errors(Path("standard output")):
        sys.stdout.write(text)
        sys.stdout.flush()


def _decrypt(arguments: argparse.Namespace) -> int:
    from maskrcnn_trainer.model_files.model_file import MAGIC, decrypt, require_model
    from maskrcnn_trainer.task.files import make_directory, write_atomically

    source, target = Path(arguments.model), Path(arguments.output)
    if arguments.output.endswith("/"):
        raise InvalidInput(f"-o {arguments.output} is the name of a directory; give that of a file")
    if target.exists():
        raise InvalidInput(f"{target} exists already; name a file that does not")
    require_model(source)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{source}: cannot be read: {error.strerror}", reason="ModelNotFound") from error
    if not content.startswith(MAGIC):
        raise InvalidInput(f"{source} is not encrypted by this trainer", reason="InvalidModel")
    key = key_of(arguments, TaskEnvironment.from_environ())
    if key is None:
        raise InvalidInput("the key is missing; give it with -k or MASKRCNN_KEY", reason="WrongKey")
    make_directory(target.parent, flag="-o: the directory of")
    write_atomically(target, decrypt(content, key, source=str(source)))
    return EXIT_OK


if __name__ == "__main__":
    entry()
