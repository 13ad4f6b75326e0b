"""Forms of the identifiers by which results are recognized: fingerprints, uids, and owner ids."""

from __future__ import annotations

import re

IDENTIFIER = re.compile(r"[0-9A-Za-z._:-]{1,128}")
"""Uid of an experiment, or id of an owner."""
IDENTIFIER_FORM = "1 to 128 letters, digits, and . _ : -"

FINGERPRINT_VALUE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
"""Fingerprint of a step, which becomes part of a directory name."""
FINGERPRINT_FORM = "1 to 128 letters, digits, and . _ -, a letter or digit first"
