"""Class names as the drawing font has them.

OpenCV's fonts are strokes for ASCII alone. Labels and ``predictions.json`` keep every name as it is; in pictures
accents go, and a name in another script gives way to its number, which says more than a row of question marks.
"""

from __future__ import annotations

import unicodedata

_SPELLED = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "–": "-", "—": "-", "’": "'",
}  # fmt: skip


def drawn_name(name: str, class_id: int) -> str:
    """A class name in ASCII.

    Args:
        name: as the data set or the class map spells it.
        class_id: its category id.

    Returns:
        the name, without its accents; ``class 7`` where letters of another script would be missing.
    """
    spelled = "".join(_SPELLED.get(letter, letter) for letter in name)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(letter))
    return plain if plain.isascii() and plain.isprintable() and plain.strip() else f"class {class_id}"
