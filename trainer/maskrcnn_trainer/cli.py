"""``maskrcnn``: command line of all tasks, with the names and flags of TAO Toolkit."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from maskrcnn_trainer.artifacts import command as artifacts_command
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK, EXIT_STOPPED, InvalidInput, TaskError, as_task_error
from maskrcnn_trainer.importing import command as import_command
from maskrcnn_trainer.report import command as report_command
from maskrcnn_trainer.shared.messages import TaskFailure
from maskrcnn_trainer.shared.standard_streams import open_closed_streams
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.spelling import use_flags_of, use_names
from maskrcnn_trainer.staging.task_inputs import add_store_flags, inputs_staged
from maskrcnn_trainer.task.arguments import TaskParser, add_key, key_of, with_hyphens
from maskrcnn_trainer.task.environment import TaskEnvironment, horovod_number
from maskrcnn_trainer.task.log_setup import setup_logging
from maskrcnn_trainer.task.output import write_output
from maskrcnn_trainer.task.staged_inputs import use_inputs_of_parent
from maskrcnn_trainer.task.termination import termination_message, write_termination_message

log = logging.getLogger("maskrcnn")

if TYPE_CHECKING:
    from maskrcnn_trainer.launch import LaunchSettings

Runner = Callable[[argparse.Namespace], int]

_LABEL = r"(?!-)[0-9A-Za-z_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LONGEST_HOST = 254
"""Letters of a DNS name with its last dot."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one task.

    Returns:
        Exit code: 0 success; 64 invalid command line, spec, or data; 75 temporary failure; 143 stopped; 70 workspace
        full; other codes: failed.
    """
    # users can't act on TensorFlow's start-up messages
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
        use_inputs_of_parent()
        with _inputs_staged(parsed):
            return run(parsed)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except BrokenPipeError:
        # the reader of standard output has exited (maskrcnn spec import ... | head), so there is no message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INVALID
    except Exception as error:
        known = as_task_error(error)
        if known is None:
            raise
        log.error("%s", known)
        log.debug("the error in full", exc_info=error)
        if parsed is not None:
            _write_termination_message(parsed.task, known)
        return known.exit_code


def _write_termination_message(task: str, error: TaskError) -> None:
    """Write the termination message of a task that was refused before it had a Reporter; launch writes its own."""
    try:
        environment = TaskEnvironment.from_environ()
        # evaluate makes its report in a process with the same variables
        if task in ("launch", "report", "artifacts") or horovod_number("RANK", least=0) > 0:
            return
    except InvalidInput:
        return
    failure = TaskFailure(error.reason, str(error))
    write_termination_message(environment, termination_message(task, error.exit_code, environment, error=failure))


def entry() -> NoReturn:
    """Run ``main`` and end the process at once afterwards, without finalizing the interpreter.

    TensorFlow's input threads call Python. If one does so during finalization, it blocks forever, and the process too.
    All files of the task are written and flushed before, so nothing is lost.
    """
    # modules and traced graphs are millions of permanent objects: searching them for cycles takes 10% of the start
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
    """Return the parser of all tasks, without importing TensorFlow."""
    parser = TaskParser(prog="maskrcnn", description="Mask R-CNN: convert, train, evaluate, prune, infer, export.")
    parser.add_argument("--version", action="version", version=f"maskrcnn {version()}")
    tasks = parser.add_subparsers(title="tasks", dest="task", required=True, metavar="TASK", parser_class=TaskParser)

    for name, entry in TASKS.items():
        task, command = name.command, importlib.import_module(entry.module)
        aliases = [task.replace("_", "-")] if "_" in task else []
        flags = tasks.add_parser(task, aliases=aliases, help=entry.help, description=entry.description)
        command.add_arguments(flags)
        add_store_flags(flags)
        flags.set_defaults(run=command.run, stage=command.stage, reported_task=name)
        if entry.several_processes:
            flags.set_defaults(check=command.check)

    start = tasks.add_parser(
        "launch",
        help="start one node's processes of a task",
        description="Start one node's processes of a task and wait for them. With several nodes, run it once on each.",
    )
    start.add_argument("--nodes", type=int, default=1, help="number of nodes in the worker group")
    start.add_argument("--node-rank", type=int, default=0, help="rank of this node, from 0")
    start.add_argument(
        "--processes-per-node", type=int, default=1, help="number of processes: one per GPU, or per share of the CPUs"
    )
    start.add_argument("--rendezvous", metavar="HOST:PORT", help="address of node 0; required with more than one node")
    start.add_argument(
        "--threads-per-process",
        type=int,
        help="CPU threads of each process; without it, the CPUs are divided by the number of processes",
    )
    start.add_argument(
        "--keep-logs",
        action="store_true",
        help="write logs, of bounded size, to logs/ of MASKRCNN_RESULTS_DIR too; always, if that is a URL",
    )
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
        help="convert a prototxt spec of TAO Toolkit to a MaskRCNNExperiment manifest",
        description="Convert a prototxt spec of TAO Toolkit to a MaskRCNNExperiment manifest, and print it.",
    )
    importing.add_argument("spec", help="the prototxt file")
    importing.add_argument("--claim", default="maskrcnn", help="name of the workspace's PersistentVolumeClaim")
    importing.set_defaults(run=_import_spec)

    imports = tasks.add_parser(
        "import",
        help="make a model file from a detector of torchvision, Detectron2, or MMDetection",
        description="Make a model file (.tlt) from a Mask R-CNN of torchvision, Detectron2, or MMDetection, which "
        "evaluate, prune, inference, and export take.",
    )
    import_command.add_arguments(imports)
    imports.set_defaults(run=import_command.run)

    report = tasks.add_parser(
        "report",
        help="make a page about an evaluation and its experiment, or compare experiments",
        description="Make one self-contained HTML page: what was trained on what, why the AP is what it is, and every "
        "model side by side. With several directories, compare their experiments.",
    )
    report_command.add_arguments(report)
    add_store_flags(report)
    report.set_defaults(run=report_command.run, stage=report_command.stage, reported_task=None)

    artifacts = tasks.add_parser(
        "artifacts",
        help="list, load, link, clean, or delete results in object storage",
        description="Work on the results of experiments below a URL, with this machine's credentials.",
    )
    artifacts_command.add_arguments(artifacts)

    decrypt = tasks.add_parser(
        "decrypt",
        help="decrypt a model file",
        description="Decrypt a model file (.tlt or .etlt).",
    )
    decrypt.add_argument("-m", "--model", required=True, help="the encrypted file")
    decrypt.add_argument("-o", "--output", required=True, help="the decrypted file to write; must not exist")
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
        prepare=_prepared,
    )


@contextlib.contextmanager
def _prepared(settings: LaunchSettings) -> Iterator[None]:
    """Check the command line of a task that runs as several processes, and stage its inputs for all of them."""
    parsed = build_parser().parse_args(with_hyphens(settings.task))
    with _inputs_staged(parsed, settings.node_rank):
        parsed.check(parsed, settings.node_rank)
        yield


def _inputs_staged(parsed: argparse.Namespace, rank: int = 0) -> contextlib.AbstractContextManager[None]:
    """Return the block of a command in which its inputs by URL are files of this machine."""
    if not hasattr(parsed, "stage"):
        return contextlib.nullcontext()
    return inputs_staged(parsed, parsed.stage, parsed.reported_task, rank=rank)


def _host_and_port(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536
    if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST or not is_port:
        raise InvalidInput(
            f"--rendezvous {text!r}: expected HOST:PORT, such as train-0.train:29500; HOST is a name or an IPv4 address"
        )
    return host, int(port)


def _import_spec(arguments: argparse.Namespace) -> int:
    from maskrcnn_trainer.spec.importing import import_spec

    imported = import_spec(Path(arguments.spec), claim=arguments.claim)
    for line in imported.report:
        log.info("%s", line)
    write_output(imported.manifest)
    return EXIT_OK


def _decrypt(arguments: argparse.Namespace) -> int:
    from maskrcnn_trainer.model_files.model_file import MAGIC, decrypt, require_model
    from maskrcnn_trainer.task.files import make_directory, write_atomically

    source, target = Path(arguments.model), Path(arguments.output)
    if arguments.output.endswith("/"):
        raise InvalidInput(f"-o {arguments.output} is a directory; give the path of a file")
    if target.exists():
        raise InvalidInput(f"-o {target} exists already; give the path of a new file")
    require_model(source)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{source}: cannot be read: {error.strerror}", reason="ModelNotFound") from error
    if not content.startswith(MAGIC):
        raise InvalidInput(
            f"-m {source} is not a model file that this trainer has encrypted; give an encrypted .tlt or .etlt",
            reason="InvalidModel",
        )
    key = key_of(arguments, TaskEnvironment.from_environ())
    if key is None:
        raise InvalidInput("the key is missing; give it with -k or MASKRCNN_KEY", reason="WrongKey")
    make_directory(target.parent, flag="-o: the directory of")
    write_atomically(target, decrypt(content, key, source=str(source)))
    return EXIT_OK


if __name__ == "__main__":
    entry()
