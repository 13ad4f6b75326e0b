"""Wording that the check finds, and wording that it accepts."""

from __future__ import annotations

import pytest
from scripts.check_words import findings, is_checked


@pytest.mark.parametrize(
    "text",
    [
        '"""What a model weighs."""\n',
        'def f() -> None:\n    """Whether it runs."""\n',
        'class C:\n    """How much is used."""\n',
        "x = 1  # whoever reads this\n",
        'raise ValueError(f"{x} is no number")\n',
        'message = "the trainer told the operator"\n',
        'message = """one\ntwo goes on\n"""\n',
    ],
)
def test_wording_to_avoid_is_found_once(text: str) -> None:
    assert len(findings("a.py", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        '"""Return the boxes kept by NMS."""\n',
        "wanted = nobody = 1\n",
        'message = "there is no file; it is no longer read; this is no different"\n',
        'message = "goes on to the next step"\n',
        'x = "%d %d" % (5, 6)\n',
        "# the stand-in stands for a GPU\n",
    ],
)
def test_plain_wording_passes(text: str) -> None:
    assert findings("a.py", text) == []


def test_a_finding_names_the_line_of_a_long_text() -> None:
    assert findings("page.md", "first\n\nstarted anew\n") == ["page.md:3: 'anew': write again, or re-"]
    assert findings("a.py", 'x = """first\nsecond anew\n"""\n') == ["a.py:2: 'anew': write again, or re-"]


@pytest.mark.parametrize(
    "name", ["test_error_is_told", "test_spec_says_so", "test_nobody_writes", "test_started_anew", "test_mark_is_fine"]
)
def test_name_of_a_test_with_a_word_to_avoid_is_found_once(name: str) -> None:
    source = f"class C:\n    async def {name}(self) -> None: ...\n"
    (found,) = findings("a.py", source)
    assert found.startswith(f"a.py:2: {name!r}: write ")


@pytest.mark.parametrize(
    "name", ["test_standard_error", "test_finer_steps", "test_restarted_run_is_finished", "nobody_is_no_test"]
)
def test_name_of_a_test_without_such_a_word_passes(name: str) -> None:
    assert findings("a.py", f"def {name}() -> None: ...\n") == []


@pytest.mark.parametrize(
    ("path", "checked"),
    [
        ("docs/index.md", True),
        (".ci/run", True),
        ("images/operator/Dockerfile", True),
        ("requirements/cpu.lock", False),
        ("tests/unit/goldens/examples.json", False),
        ("scripts/check_words.py", False),
        ("docs/picture.png", False),
    ],
)
def test_prose_of_the_project_is_checked(path: str, checked: bool) -> None:
    assert is_checked(path) is checked
