"""Command-line parsing for all tasks: both spellings of flags, exit code 64, the key, TAO Toolkit's flags."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.nvidia import gpus_are_hidden
from maskrcnn_trainer.shared.object_url import without_secrets
from maskrcnn_trainer.spec.url_fields import flag_problem
from maskrcnn_trainer.task.environment import TaskEnvironment, checked_key
from maskrcnn_trainer.task.gpus import index_variable

log = logging.getLogger(__name__)

SPEC_FLAGS = ("-e", "--experiment-spec", "--experiment-spec-file")
KEY_FLAGS = ("-k", "--key")


class _MeaningfulDefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help formatter that shows defaults, except for flags without one and for switches."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool) or action.default in ([], ()):
            return action.help
        return super()._get_help_string(action)


def _not_empty(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("the value is empty, perhaps from a variable that isn't set")
    return value


class TaskParser(argparse.ArgumentParser):
    """Argument parser whose errors are :class:`InvalidInput` and that doesn't accept abbreviated flags.

    A URL is refused where none is accepted, and an invalid one everywhere. No error has a signature or a password.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _MeaningfulDefaultsFormatter)
        super().__init__(*args, **options)
        self.register("type", None, _not_empty)  # flags with a type of their own check their value themselves

    def add_subparsers(self, **options: Any) -> Any:
        """Add subparsers whose remaining arguments may be empty."""
        action = super().add_subparsers(**options)
        action.type = str  # argparse also applies the type to everything after the name of the subparser
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, of a subcommand too, and check the URLs among them."""
        parsed, rest = super().parse_known_args(args, namespace)
        command = self.prog.partition(" ")[2]
        for action in self._actions:
            spellings = action.option_strings or [action.dest.upper()]
            value = getattr(parsed, action.dest, None)
            for text in value if isinstance(value, list) else [value]:
                problem = flag_problem(command, spellings[0], text) if isinstance(text, str) else None
                if problem:
                    self.error(f"argument {'/'.join(spellings)}: {problem}")
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Raise InvalidInput with the message and a hint to the help."""
        raise InvalidInput(
            f"{self.prog}: {without_secrets(message)}; see {self.prog} --help", reason="InvalidCommandLine"
        )


class IgnoredFlag(argparse.Action):
    """Flag of TAO Toolkit that has no effect here: accepted with its value and a warning."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        options["help"] = argparse.SUPPRESS
        options["default"] = argparse.SUPPRESS
        options["type"] = str
        super().__init__(option_strings, dest, **options)

    def __call__(  # argparse's signature
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - the signature of argparse
        namespace: argparse.Namespace,  # noqa: ARG002 - as above
        values: Any,  # noqa: ARG002 - as above
        option_string: str | None = None,
    ) -> None:
        """Log a warning and ignore the value."""
        log.warning("%s has no effect here and is ignored", option_string)


def with_hyphens(arguments: Sequence[str]) -> list[str]:
    """Return arguments with hyphens in long flags (``--use_amp`` becomes ``--use-amp``).

    Values, and everything after ``--``, are unchanged.
    """
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return spelled + list(arguments[position:])
        flag, equals, value = argument.partition("=")
        spelled.append(flag.replace("_", "-") + equals + value if flag.startswith("--") else argument)
    return spelled


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add ``-k``, the encryption key of model files."""
    parser.add_argument(
        *KEY_FLAGS,
        type=str,
        help="encryption key of the model files; prefer MASKRCNN_KEY: command lines are visible to other users",
    )


def key_of(arguments: argparse.Namespace, environment: TaskEnvironment) -> str | None:
    """Return the key from ``-k``, else from the environment; None if it is empty.

    Raises:
        InvalidInput: the key isn't UTF-8.
    """
    return checked_key(getattr(arguments, "key", None), "-k") or environment.key


def add_spec(parser: argparse.ArgumentParser) -> None:
    """Add ``-e``, the file of the experiment spec."""
    parser.add_argument(
        *SPEC_FLAGS,
        required=True,
        metavar="SPEC",
        help="experiment spec: a prototxt of TAO Toolkit, the same fields as YAML, or a MaskRCNNExperiment manifest",
    )


def add_gpu_index(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpu-index``, the GPU of a task with a single process."""
    parser.add_argument("--gpu-index", type=int, nargs="+", metavar="I", help="index of the GPU to use, from 0")


def use_gpu(arguments: argparse.Namespace) -> None:
    """Make the GPU of ``--gpu-index`` the only one visible to this process.

    Raises:
        InvalidInput: more than one index is given, or a negative one.
    """
    given = arguments.gpu_index
    if given is not None and len(given) > 1:
        raise InvalidInput(f"--gpu_index {' '.join(map(str, given))}: {arguments.task} uses one GPU; give one index")
    use_gpus(given)


def use_gpus(indices: Sequence[int] | None) -> None:
    """Make the GPUs with these indices the only ones visible to this process and its children; None: all of them.

    Indices are those of the machine, whatever ``CUDA_VISIBLE_DEVICES`` lists; a user who hides all GPUs with it has
    chosen the CPU, and the indices have no effect. CUDA reads the variable when it is first used, so call this before
    TensorFlow, ONNX Runtime, or TensorRT is loaded.

    Raises:
        InvalidInput: an index is negative, which CUDA would treat as the end of the list, or is given twice.
    """
    if indices is None:
        return
    text = " ".join(map(str, indices))
    if min(indices) < 0:
        raise InvalidInput(f"--gpu_index {text}: indices of GPUs start at 0")
    if len(set(indices)) < len(indices):
        raise InvalidInput(f"--gpu_index {text}: the same GPU is given twice")
    if not gpus_are_hidden():
        os.environ.update(index_variable(indices))


def results_dir_of(given: str | None, environment: TaskEnvironment, *, flag: str) -> str:
    """Return the results directory, from the flag or else from MASKRCNN_RESULTS_DIR.

    Raises:
        InvalidInput: neither is set.
    """
    directory = given or environment.results_dir
    if not directory:
        raise InvalidInput(f"{flag} is missing: the directory to write results to (or set MASKRCNN_RESULTS_DIR)")
    return directory
