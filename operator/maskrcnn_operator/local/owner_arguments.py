"""Values of the command line that name an owner of results in object storage."""

from __future__ import annotations

import argparse
import re

from maskrcnn_operator.api.text import one_line
from maskrcnn_trainer.shared.identifiers import IDENTIFIER, IDENTIFIER_FORM

_EPOCH = re.compile(r"[1-9][0-9]{0,17}")


def owner_id_argument(text: str) -> str:
    """Return the id of an owner.

    Raises:
        argparse.ArgumentTypeError: no owner can have this id.
    """
    if not IDENTIFIER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{one_line(text, 40)!r} isn't {IDENTIFIER_FORM}")
    return text


def owner_state_argument(text: str) -> str:
    """Return an owner's id and epoch, ID/EPOCH.

    Raises:
        argparse.ArgumentTypeError: the text has another form.
    """
    owner_id, _, epoch = text.rpartition("/")
    # any owner id, as another program may have chosen it
    if not (owner_id and owner_id.isprintable() and _EPOCH.fullmatch(epoch)):
        raise argparse.ArgumentTypeError(
            f"{one_line(text, 40)!r} isn't an owner's id, a slash, and its epoch, such as my-cluster/3"
        )
    return text
