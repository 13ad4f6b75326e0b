from __future__ import annotations

import re

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import IN_STYLES

from maskrcnn_trainer.report.page.page import page
from maskrcnn_trainer.report.page.styles import style_sheet


def test_style_sheet_loads_nothing_and_can_not_end_early() -> None:
    assert not IN_STYLES.search(style_sheet())
    assert "<" not in style_sheet()


def test_every_color_that_is_used_is_defined_in_both_themes() -> None:
    used = set(re.findall(r"var\(--(\w+)\)", style_sheet())) - {"v", "w"}
    light, dark = re.findall(r":root\{([^}]*)\}", style_sheet())
    for theme in (light, dark):
        assert used <= set(re.findall(r"--(\w+):#[0-9a-f]{6};", theme))


def test_dark_theme_is_not_printed() -> None:
    assert "@media screen and (prefers-color-scheme:dark)" in style_sheet()


def printed() -> str:
    return style_sheet().partition("@media print{")[2]


def test_heading_is_printed_on_the_page_of_what_follows_it() -> None:
    assert "h2,h3,h4,:is(h2,h3,h4)+p,thead{break-after:avoid;break-inside:avoid}" in printed()
    assert ".scroll,tr:first-child{break-before:avoid}" in printed()


def test_row_of_a_table_is_printed_on_one_page() -> None:
    assert "tr,li,.tiles,.shades,.legend{break-inside:avoid}" in printed()


def test_label_of_a_part_that_opens_is_printed_only_where_the_part_stays_closed() -> None:
    supported = printed().partition("@supports selector(::details-content){")[2]
    assert "summary{display:none}" in supported
    assert printed().count("summary{display:none}") == 1


def test_braces_are_balanced() -> None:
    assert style_sheet().count("{") == style_sheet().count("}")


def test_every_class_of_the_page_with_a_color_is_in_the_style_sheet() -> None:
    used = set(re.findall(r'class="([^"]+)"', page(sample.report())))
    names = {name for value in used for name in value.split()}
    plain = {"chart", "heat", "created", "text", "t0"}
    assert {name for name in names - plain if f".{name}" not in style_sheet()} == set()
