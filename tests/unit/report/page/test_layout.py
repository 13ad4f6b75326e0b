from __future__ import annotations

from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.page.layout import (
    FIRST_ROWS,
    LONGEST_TABLE,
    LONGEST_VALUE,
    Nesting,
    Section,
    bar_cell,
    field_name,
    long_table,
    path,
    sentence,
    table,
)
from maskrcnn_trainer.report.page.markup import Markup


def test_section_has_an_id_with_the_prefix_and_a_heading_of_its_level() -> None:
    assert Section("f1", "Best score", Markup("x")).drawn(Nesting("e2-", 3)) == (
        '<section id="e2-f1"><h3>Best score</h3>x</section>'
    )


def test_link_leads_to_the_section_of_the_same_experiment() -> None:
    assert Nesting("e2-", 3).link("f1", "score") == '<a href="#e2-f1">score</a>'


def test_first_column_and_texts_are_left_aligned_and_numbers_are_not() -> None:
    made = table(("a", "b", "c"), [("x", "y", "1")], label="t", texts=2)
    assert '<td class="text"><bdi>y</bdi></td><td><bdi>1</bdi></td>' in made
    assert '<th scope="row"><bdi>x</bdi></th>' in made


def test_long_text_in_a_cell_is_cut() -> None:
    assert len(words(table(("a",), [("x" * 5000,)], label="t"))) == LONGEST_VALUE + 1


def test_field_is_broken_between_its_words_alone() -> None:
    assert field_name("maskrcnnConfig.rpnFgFraction") == (
        '<code class="field">maskrcnn<wbr>Config.<wbr>rpn<wbr>Fg<wbr>Fraction</code>'
    )
    assert field_name("a<B") == '<code class="field">a&lt;B</code>'


def test_path_of_one_part_is_whole() -> None:
    assert words(path("model.tlt")) == "model.tlt"


def test_table_with_a_few_more_rows_is_whole() -> None:
    assert "<details>" not in long_table(("a",), [("x",)] * LONGEST_TABLE, label="t")


def test_longer_table_has_its_first_rows_in_view_and_all_others_in_a_part_that_opens() -> None:
    rows = [(f"row {number}",) for number in range(LONGEST_TABLE + 1)]
    texts = read(long_table(("a",), rows, label="t")).texts
    inside = [text for path, text in texts if "details/" in path and text.startswith("row")]
    assert inside == [row for (row,) in rows[FIRST_ROWS:]]
    assert sum(text.startswith("row") for _, text in texts) == len(rows)


def test_bar_of_a_cell_fills_its_share() -> None:
    assert bar_cell("0.25", 0.25) == '<span class="bar" style="--v:25.0%">0.25</span>'
    assert "--v:100.0%" in bar_cell("9", 9.0)


def test_enumeration_has_commas_and_an_and() -> None:
    found = [sentence(parts) for parts in (["a"], ["a", "b"], ["a", "b", "<c>"])]
    assert found == ["a", "a and b", "a, b, and &lt;c&gt;"]
