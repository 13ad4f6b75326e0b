"""Command-line parsing that all tasks share: both spellings of a flag, exit code 64, the key, old flags."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.environment import TaskEnvironment, checked_key
from maskrcnn_trainer.task.gpus import index_variable

log = logging.getLogger(__name__)

SPEC_FLAGS = ("-e", "--experiment-spec", "--experiment-spec-file")
KEY_FLAGS = ("-k", "--key")


class _DefaultsThatSaySomething(argparse.ArgumentDefaultsHelpFormatter):
    """Names defaults, but not that a flag has none or is a switch that is off."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool) or action.default in ([], ()):
            return action.help
        return super()._get_help_string(action)


def _not_empty(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("the value is empty, perhaps of a variable that isn't set")
    return value


class TaskParser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`InvalidInput` and that never guesses at an abbreviated flag."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _DefaultsThatSaySomething)
        super().__init__(*args, **options)
        self.register("type", None, _not_empty)  # flags with a type of their own check their value themselves

    def add_subparsers(self, **options: Any) -> Any:
        action = super().add_subparsers(**options)
        action.type = str  # argparse applies its type to all that follows the task, too
        return action

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{self.prog}: {message}; see {self.prog} --help", reason="InvalidCommandLine")


class IgnoredFlag(argparse.Action):
    """A flag of the original toolkit that has no meaning here: accepted with its value, and a warning says so."""

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
        log.warning("%s has no meaning here and is ignored", option_string)


def with_hyphens(arguments: Sequence[str]) -> list[str]:
    """Spells long flags with hyphens (``--use_amp`` becomes ``--use-amp``); values, and all after ``--``, stay."""
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return spelled + list(arguments[position:])
        flag, equals, value = argument.partition("=")
        spelled.append(flag.replace("_", "-") + equals + value if flag.startswith("--") else argument)
    return spelled


def add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *KEY_FLAGS, type=str, help="encryption key of the model files; MASKRCNN_KEY keeps it off the screen"
    )


def key_of(arguments: argparse.Namespace, environment: TaskEnvironment) -> str | None:
    """The key of ``-k``, else of the environment; an empty one counts as none.

    Raises:
        InvalidInput: it isn't UTF-8.
    """
    return checked_key(getattr(arguments, "key", None), "-k") or environment.key


def add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *SPEC_FLAGS,
        required=True,
        metavar="SPEC",
        help="the experiment spec: the original toolkit's prototxt, the same fields as YAML, or a MaskRCNNExperiment",
    )


def add_gpu_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu-index", type=int, nargs="+", metavar="I", help="the GPU to use, counted from 0")


def use_gpu(arguments: argparse.Namespace) -> None:
    """Make the one GPU of ``--gpu-index`` the only one that this process sees.

    Raises:
        InvalidInput: several are given, or a negative one.
    """
    given = arguments.gpu_index
    if given is not None and len(given) > 1:
        raise InvalidInput(f"--gpu_index {' '.join(map(str, given))}: {arguments.task} uses one GPU; give one index")
    use_gpus(given)


def use_gpus(indices: Sequence[int] | None) -> None:
    """Make the GPUs of these indices the only ones that this process and its children see; all where None is given.

    CUDA reads the variable when it is first used, so it must be set before TensorFlow, ONNX Runtime, or TensorRT load.

    Raises:
        InvalidInput: an index is negative, which CUDA would take for the end of the list, or is given twice.
    """
    if indices is None:
        return
    text = " ".join(map(str, indices))
    if min(indices) < 0:
        raise InvalidInput(f"--gpu_index {text}: GPUs are counted from 0")
    if len(set(indices)) < len(indices):
        raise InvalidInput(f"--gpu_index {text}: the same GPU is given twice")
    os.environ.update(index_variable(indices))


def results_dir_of(given: str | None, environment: TaskEnvironment, *, flag: str) -> str:
    """The results directory: the flag's, else MASKRCNN_RESULTS_DIR.

    Raises:
        InvalidInput: neither is there.
    """
    directory = given or environment.results_dir
    if not directory:
        raise InvalidInput(f"{flag} is missing: the directory to write results to (or set MASKRCNN_RESULTS_DIR)")
    return directory
