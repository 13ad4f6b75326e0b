from __future__ import annotations

from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.page.heat_map import LARGEST_WITH_NUMBERS, heat_legend, heat_map


def drawn(size: int, share: float | None = 0.4) -> str:
    names = [f"class {number}" for number in range(size)]
    shares = [[share if row == column else 0.0 for column in range(size)] for row in range(size)]
    texts = [["7" if row == column else "0" for column in range(size)] for row in range(size)]
    return heat_map("x", names, shares, texts, lambda row, column: f"{names[row]} as {names[column]}")


def test_small_matrix_has_numbers_in_all_cells() -> None:
    texts = [text for path, text in read(drawn(3)).texts if path.endswith("svg/text")]
    assert (texts.count("7"), texts.count("0")) == (3, 6)


def test_large_matrix_has_only_shaded_cells_without_numbers() -> None:
    size = LARGEST_WITH_NUMBERS + 1
    reader = read(drawn(size))
    assert "7" not in [text for _, text in reader.texts]
    assert reader.tags["rect"] == size + 1, "one for each cell on the diagonal, and the border"
    assert "class 2 as class 2" in words(drawn(size))


def test_share_gives_the_shade_and_the_color_of_the_number() -> None:
    assert drawn(2).count('class="h6"') == 2
    assert drawn(2).count('class="t6"') == 2
    assert 'class="h9"' not in drawn(2)


def test_undefined_share_has_no_shade() -> None:
    assert 'class="h6"' not in drawn(2, None)


def test_both_axes_are_named() -> None:
    assert "truth ↓ detected as →" in words(drawn(2))


def test_legend_has_the_bounds_of_all_shades() -> None:
    assert words(heat_legend()) == "share of the row, up to 2%5%10%20%35%50%65%80%100%"


def test_hostile_names_are_escaped() -> None:
    made = heat_map(
        "<", ["<script>", "'\""], [[0.1, 0.2], [0.3, None]], [["1", "2"], ["3", ""]], lambda row, column: "<b>"
    )
    assert read(made).problems == []
