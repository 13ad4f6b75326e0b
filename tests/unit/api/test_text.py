from __future__ import annotations

import pytest

from maskrcnn_operator.api.text import clean, one_line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abcd", "abc"),
        ("ü\udce9\ud800x", "ü\ufffd\ufffd"),
        ("", ""),
        (None, ""),
        (7, ""),
        (b"abc", ""),
        ("\x00a", "\x00a"),
    ],
)
def test_a_text_is_cut_and_has_no_lone_surrogates(value: object, text: str) -> None:
    assert clean(value, 3) == text
    text.encode()


def test_one_line_has_no_control_characters() -> None:
    assert one_line("a\n\tb\x1b[31m\u2028c \udce9", 20) == "a b [31m c \ufffd"
