from __future__ import annotations

import pytest

from maskrcnn_trainer.report.page.markup import Markup, element, is_picture, joined, shortened, visible


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "<b>&", Markup("<i>x</i>"), None) == "<p>&lt;b&gt;&amp;<i>x</i></p>"


def test_formatted_markup_is_text_again() -> None:
    assert element("p", f"{Markup('<i>')}") == "<p>&lt;i&gt;</p>"


def test_attributes_are_escaped_and_renamed() -> None:
    shown = element("p", class_="a", aria_label='"><script>', title=None)
    assert shown == '<p class="a" aria-label="&quot;&gt;&lt;script&gt;"></p>'


def test_void_element_has_no_end() -> None:
    assert element("br") == "<br>"


@pytest.mark.parametrize("address", ["https://example.org", "//x", "javascript:alert(1)", "x.html", "#", "#a b", "#1"])
def test_link_out_of_the_page_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="isn't an anchor of the page"):
        element("a", "x", href=address)


@pytest.mark.parametrize(
    "address", ["https://example.org/a.png", "a.png", "data:image/svg+xml;base64,AA", "data:text/html,x"]
)
def test_picture_from_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="isn't a picture"):
        element("img", src=address)
    assert not is_picture(address)


def test_picture_of_the_page_is_accepted() -> None:
    assert element("img", src="data:image/png;base64,AA==") == '<img src="data:image/png;base64,AA==">'


def test_attribute_that_runs_a_script_is_refused() -> None:
    with pytest.raises(ValueError, match="no script"):
        element("p", onclick="alert(1)")


def test_control_characters_surrogates_and_directions_are_spelled() -> None:
    assert visible("a\x00\n\x1b\ud800\u202e\u2028b") == "a\\x00\\n\\x1b\\ud800\\u202e\\u2028b"


def test_letters_of_any_script_are_kept() -> None:
    assert visible("Größe 犬 کتاب‌ها 👩‍🔬") == "Größe 犬 کتاب‌ها 👩‍🔬"


def test_text_of_a_page_can_be_written_as_utf_8() -> None:
    assert joined(["\udcff"]).encode() == b"\\udcff"


def test_long_text_ends_with_an_ellipsis() -> None:
    assert (shortened("abcdef", 4), shortened("abcd", 4)) == ("abc…", "abcd")
