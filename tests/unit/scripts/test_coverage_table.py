"""Coverage by package."""

from __future__ import annotations

from scripts.coverage_table import by_package, package_of, table


def summary(lines: int, statements: int, taken: int = 0, branches: int = 0) -> dict[str, int]:
    return {
        "covered_lines": lines,
        "missing_lines": statements - lines,
        "covered_branches": taken,
        "missing_branches": branches - taken,
    }


def test_file_belongs_to_the_folder_below_its_project() -> None:
    assert package_of("operator/maskrcnn_operator/core/graph.py") == "operator/core"
    assert package_of("trainer/maskrcnn_trainer/export/calibration/images.py") == "trainer/export"
    assert package_of("trainer/maskrcnn_trainer/cli.py") == "trainer"


def test_table_has_the_sums_of_packages_and_the_total() -> None:
    found = by_package(
        {
            "operator/maskrcnn_operator/core/a.py": summary(3, 4, 1, 2),
            "operator/maskrcnn_operator/core/b.py": summary(0, 6),
            "trainer/maskrcnn_trainer/cli.py": summary(10, 10),
        }
    )
    assert found == {"operator/core": (3, 10, 1, 2), "trainer": (10, 10, 0, 0)}
    head, first, second, last = (line.split() for line in table(found))
    assert head == ["package", "lines", "of", "branches", "of"]
    assert first == ["operator/core", "30%", "10", "50%", "2"]
    assert second == ["trainer", "100%", "10", "-", "0"]
    assert last == ["all", "65%", "20", "50%", "2"]
