"""Command ``maskrcnn-operator controller``, which runs the operator inside or outside of a cluster.

Its dependencies are imported when it runs, so that ``maskrcnn-operator run`` works without a Kubernetes client.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_operator.runtime.flags import add_flags
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.shared.version import version

if TYPE_CHECKING:
    from maskrcnn_operator.jobs.defaults import JobDefaults

RECURSION_LIMIT = 15_000
"""Recursion limit of Python. The API server accepts JSON with 10,000 nested levels, and Python's decoder counts each as
a call. A thread's stack of 8 MiB has room for 30,000 levels of comparing and printing, which need the most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``controller``."""
    add_flags(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the operator until SIGTERM or SIGINT.

    Returns:
        0 after a signal; 1 if it cannot run or one of its tasks ends early; 64 if the arguments do not fit together.
    """
    import asyncio
    import gc
    import logging

    # otherwise, one deeply nested object would prevent the decoding of a whole list, here and in kopf
    sys.setrecursionlimit(RECURSION_LIMIT)
    _have_a_home()
    from maskrcnn_operator.runtime.logs import set_up_logging
    from maskrcnn_operator.runtime.operator import Operator
    from maskrcnn_operator.runtime.options import options_of

    set_up_logging(arguments.log_format, arguments.log_level)
    logging.getLogger(__name__).info("maskrcnn-operator %s, Python %s", version(), platform.python_version())
    if (arguments.report_port is None) != (arguments.report_url is None):
        logging.getLogger(__name__).error("--report-port and --report-url must be given together")
        return EXIT_INVALID
    if arguments.report_certificate is not None and arguments.report_port is None:
        logging.getLogger(__name__).error("--report-certificate requires --report-port and --report-url")
        return EXIT_INVALID
    try:
        defaults = _job_defaults(arguments.job_defaults)
    except InvalidInput as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_INVALID
    options = options_of(arguments, defaults)

    # most objects are long-lived: modules, and later the cache
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)

    async def operate() -> int:
        return await Operator(options).run()

    return asyncio.run(operate())


def _job_defaults(file: Path | None) -> JobDefaults:
    from maskrcnn_operator.jobs.defaults import JobDefaults, read_job_defaults

    if file is None:
        return JobDefaults()
    try:
        return read_job_defaults(file.read_text(encoding="utf-8"), f"--job-defaults {file}")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--job-defaults {file} cannot be read: {error}") from error


def _have_a_home() -> None:
    """Set HOME if there is none: the official client reads it at import, and a user without a passwd entry lacks it."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
