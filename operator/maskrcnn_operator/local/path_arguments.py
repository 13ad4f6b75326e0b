"""Values of the command line that name a path of this machine, and the one that may be a URL of object storage."""

from __future__ import annotations

import argparse
from pathlib import Path

from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, ObjectUrl, is_url, parse_url, workspace_url_problem
from maskrcnn_trainer.spec.url_fields import local_problem

_PAGE_SUFFIXES = (".html", ".htm")


def path_argument(text: str) -> Path:
    """Return a path of this machine.

    Raises:
        argparse.ArgumentTypeError: the text is empty, or a URL.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; is a shell variable unset?")
    if problem := local_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return Path(text)


def workspace_argument(text: str) -> Path | ObjectUrl:
    """Return a directory, or the URL of a prefix in object storage; an error has no part of the URL.

    Raises:
        argparse.ArgumentTypeError: the text is empty, an invalid URL, or the URL of a file.
    """
    scheme, colon, _ = text.partition(":")
    if not is_url(text):
        if colon and scheme.lower() in STORE_SCHEMES:
            form = f"{scheme.lower()}://BUCKET/PREFIX"
            raise argparse.ArgumentTypeError(f"a URL must be {form}; for a directory of that name, give ./ before it")
        return path_argument(text)
    if text.lower().startswith("file:"):
        raise argparse.ArgumentTypeError("a URL of a file isn't accepted here: give its path")
    if problem := workspace_url_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return parse_url(text, "--workspace")


def page_argument(text: str) -> Path:
    """Return the path of a page of HTML.

    Raises:
        argparse.ArgumentTypeError: the text is empty, a URL, or a path with another suffix.
    """
    path = path_argument(text)
    if path.suffix.lower() not in _PAGE_SUFFIXES:
        raise argparse.ArgumentTypeError("the report is HTML: give a path that ends with .html")
    return path
