"""The command line of the controller, and what it must not drag in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_operator.cli import build_parser, main
from maskrcnn_operator.runtime.options import Options, report_address

CONTROLLER = (sys.executable, "-m", "maskrcnn_operator.cli", "controller")
HEAVY = ("kopf", "kubernetes", "aiohttp", "prometheus_client", "cryptography")


def test_the_other_commands_need_no_client_of_kubernetes() -> None:
    code = (
        "import sys; from maskrcnn_operator import cli; parser = cli.build_parser();"
        " parser.parse_args(['run', 'x.yaml']); parser.parse_args(['controller']);"
        f" print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_several_namespaces_and_ports() -> None:
    words = ["controller", "--namespace", "a", "--namespace", "b", "--namespace", "a"]
    parsed = build_parser().parse_args(
        ["controller", *words[1:], "--health-port", "8081", "--qps", "0", "--workers", "3"]
    )
    assert parsed.namespace == ["a", "b", "a"]
    assert (parsed.health_port, parsed.metrics_port, parsed.qps, parsed.workers) == (8081, None, 0.0, 3)


@pytest.mark.parametrize(
    "words",
    [["--workers", "0"], ["--health-port", "70000"], ["--qps", "-1"], ["--burst", "x"], ["--log-format", "xml"]],
)
def test_a_command_line_that_cannot_work_ends_with_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["controller", *words])
    assert ended.value.code == 64
    assert words[0] in capsys.readouterr().err


def test_reports_need_an_address() -> None:
    done = subprocess.run(
        [*CONTROLLER, "--report-port", "8443"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64
    assert "--report-url" in done.stderr


def test_no_cluster_is_told_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "maskrcnn_operator.cli",
            "controller",
            "--kubeconfig",
            str(tmp_path / "none"),
            "--log-format",
            "text",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "kubeconfig" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_a_cluster_queue_and_name_jobs() -> None:
    settings = Options().settings
    assert settings.queueing
    assert settings.max_parallel_steps is None


@pytest.mark.parametrize(
    ("given", "posted_to"),
    [
        ("https://operator.ns.svc", "https://operator.ns.svc/v1/report"),
        ("https://operator.ns.svc:8443/", "https://operator.ns.svc:8443/v1/report"),
        ("https://proxy.example/maskrcnn/v1/report", "https://proxy.example/maskrcnn/v1/report"),
    ],
)
def test_steps_are_given_the_path_that_is_served(given: str, posted_to: str) -> None:
    assert report_address(given) == posted_to
