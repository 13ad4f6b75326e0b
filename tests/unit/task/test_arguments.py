"""Command-line parsing: both spellings of a flag, errors with exit code 64, flags of TAO Toolkit."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.cli import build_parser
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec.url_fields import OUTPUT_FLAGS
from maskrcnn_trainer.task.arguments import IgnoredFlag, TaskParser, add_key, key_of, results_dir_of, with_hyphens
from maskrcnn_trainer.task.environment import TaskEnvironment


def test_underscores_become_hyphens_in_flags_only() -> None:
    given = ["--image_dir", "my_dir", "--num_shards=4_0", "-np", "2", "--", "--keep_this"]
    assert with_hyphens(given) == ["--image-dir", "my_dir", "--num-shards=4_0", "-np", "2", "--", "--keep_this"]


def test_a_mistake_is_exit_code_64_and_nothing_is_guessed() -> None:
    parser = TaskParser(prog="maskrcnn train")
    parser.add_argument("--experiment-spec")
    with pytest.raises(InvalidInput, match="unrecognized arguments: --experiment") as caught:
        parser.parse_args(["--experiment", "x"])
    assert caught.value.exit_code == 64


def test_an_old_flag_warns_and_takes_its_value_along(caplog: pytest.LogCaptureFixture) -> None:
    parser = TaskParser(prog="maskrcnn train")
    parser.add_argument("--log-file", action=IgnoredFlag)
    assert vars(parser.parse_args(["--log-file", "x.log"])) == {}
    assert "--log-file has no effect here" in caplog.text


def test_the_key_of_the_command_line_wins_and_an_empty_one_is_none() -> None:
    parser = TaskParser(prog="x")
    add_key(parser)
    environment = TaskEnvironment(key="from the environment")
    assert key_of(parser.parse_args(["-k", "given"]), environment) == "given"
    assert key_of(parser.parse_args(["-k", ""]), environment) == "from the environment"
    assert key_of(parser.parse_args([]), TaskEnvironment()) is None


def test_the_results_directory_is_the_flags_else_the_environments() -> None:
    environment = TaskEnvironment(results_dir="/r")
    assert results_dir_of("/given", environment, flag="-d") == "/given"
    assert results_dir_of(None, environment, flag="-d") == "/r"
    with pytest.raises(InvalidInput, match="-d is missing"):
        results_dir_of(None, TaskEnvironment(), flag="-d")


def test_help_shows_meaningful_defaults() -> None:
    parser = TaskParser(prog="maskrcnn prune")
    parser.add_argument("--granularity", type=int, default=8, help="multiples")
    parser.add_argument("--key", help="the key")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--excluded", nargs="+", default=[], help="kept whole")
    assert "multiples (default: 8)" in parser.format_help()
    assert parser.format_help().count("(default") == 1


def test_an_empty_value_is_refused_with_its_flag() -> None:
    parser = TaskParser(prog="maskrcnn dataset_convert")
    parser.add_argument("-o", "--output-dir")
    with pytest.raises(InvalidInput, match="argument -o/--output-dir: the value is empty"):
        parser.parse_args(["-o", ""])


def test_a_key_that_is_not_utf8_is_refused_without_showing_it() -> None:
    parser = TaskParser(prog="x")
    add_key(parser)
    with pytest.raises(InvalidInput, match="-k: the key has bytes that aren't UTF-8") as told:
        key_of(parser.parse_args(["-k", "caf\udce9"]), TaskEnvironment())
    assert "caf" not in str(told.value)
    with pytest.raises(InvalidInput, match="MASKRCNN_KEY"):
        TaskEnvironment.from_environ({"MASKRCNN_KEY": "caf\udce9"})


COMMANDS = [
    ["dataset_convert", "-i", "s3://data/images", "-a", "gs://data/a.json", "-o", "/records"],
    ["train", "-e", "s3://data/spec.yaml", "-d", "/results"],
    ["evaluate", "-e", "file:///spec.yaml", "-m", "s3://data/model.tlt"],
    ["prune", "-m", "az://data/model.tlt", "-o", "/results"],
    ["inference", "-i", "s3://data/images", "-m", "s3://data/m", "-e", "s", "-c", "s3://data/names.txt"],
    ["export", "-m", "s3://data/m", "-e", "s", "--cal-image-dir", "s3://data/images"],
    ["report", "-r", "s3://data/a", "/results", "-o", "page.html"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_inputs_of_a_command_may_be_urls(command: list[str]) -> None:
    assert build_parser().parse_args(command).task == command[0]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("text", ["s3://data//{}", "s3://data/a?{}=b", "s3://user:{}@data/a", "https://data/{}"])
def test_invalid_url_is_refused_with_its_flag_and_without_its_text(command: list[str], text: str) -> None:
    (position, *_) = (at for at, word in enumerate(command) if ":/" in word)
    given = [*command[:position], text.format("s3cr3t"), *command[position + 1 :]]
    with pytest.raises(
        InvalidInput, match=f"^maskrcnn {command[0]}: argument {command[position - 1]}[^ ]*: "
    ) as refused:
        build_parser().parse_args(given)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_url_of_an_output_is_refused_by_the_name_of_its_flag(command: list[str]) -> None:
    for flag in OUTPUT_FLAGS[command[0]]:
        given = [word for word in command if word not in ("-o", "-d", "/records", "/results", "page.html")]
        given = [
            *given,
            *(["-o", "/records"] if command[0] == "dataset_convert" and flag in ("-r", "--results-dir") else []),
        ]
        with pytest.raises(
            InvalidInput, match=f"argument [^ ]*{flag}[^ ]*: (results|a task) can't (be written|write) to a URL"
        ) as refused:
            build_parser().parse_args([*given, flag, "s3://data/s3cr3t?a=b"])
        assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (["decrypt", "-m", "s3://data/s3cr3t", "-o", "out"], "-m"),
        (["decrypt", "-m", "in", "-o", "s3://data/s3cr3t"], "-o"),
        (["spec", "import", "s3://data/s3cr3t"], "SPEC"),
    ],
)
def test_url_is_refused_where_only_a_file_of_this_machine_is_read(command: list[str], flag: str) -> None:
    with pytest.raises(InvalidInput, match=f"argument {flag}[^ ]*: a URL isn't accepted here") as refused:
        build_parser().parse_args(command)
    assert "s3cr3t" not in str(refused.value)


def test_argument_that_no_flag_takes_is_shown_without_its_signature() -> None:
    with pytest.raises(InvalidInput, match="unrecognized arguments: s3://data/a") as refused:
        build_parser().parse_args(["evaluate", "-e", "s", "-m", "m", "s3://data/a?sig=s3cr3t"])
    assert "s3cr3t" not in str(refused.value)


def test_url_as_the_results_directory_of_the_environment_is_refused() -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_RESULTS_DIR: a task can't write its results to a URL") as refused:
        TaskEnvironment.from_environ({"MASKRCNN_RESULTS_DIR": "s3://data/s3cr3t"})
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    "created",
    [
        *("yesterday", "2026-01-31", "2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00Z\n"),
        *("2026-13-31T12:00:00Z", "2026-02-30T12:00:00Z", "2026-99-99T99:99:99Z", "0000-01-01T00:00:00Z"),
    ],
)
def test_time_of_creation_that_is_not_one_is_refused(created: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_CREATED: .* must be a time in UTC"):
        TaskEnvironment.from_environ({"MASKRCNN_CREATED": created})


def test_time_of_creation_is_read() -> None:
    assert TaskEnvironment.from_environ({"MASKRCNN_CREATED": "2026-01-31T12:00:00Z"}).created == "2026-01-31T12:00:00Z"
