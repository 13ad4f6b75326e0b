"""Command line of the controller, and modules that it must not import."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from maskrcnn_operator.cli import build_parser, main
from maskrcnn_operator.runtime.command import RECURSION_LIMIT
from maskrcnn_operator.runtime.logs import LogLevel, set_up_logging
from maskrcnn_operator.runtime.options import Options, report_address
from maskrcnn_trainer.cli import main as trainer_main
from maskrcnn_trainer.shared.version import version

ROOT = Path(__file__).resolve().parents[3]

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
    [
        *(["--workers", "0"], ["--health-port", "70000"], ["--qps", "-1"], ["--burst", "x"]),
        *(["--log-format", "xml"], ["--log-level", "loud"]),
    ],
)
def test_invalid_command_line_exits_with_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["controller", *words])
    assert ended.value.code == 64
    assert words[0] in capsys.readouterr().err


def test_report_port_requires_a_report_url() -> None:
    done = subprocess.run(
        [*CONTROLLER, "--report-port", "8443"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64
    assert "--report-url" in done.stderr


def test_missing_cluster_is_reported_in_one_line(tmp_path: Path) -> None:
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
def test_report_url_has_the_served_path(given: str, posted_to: str) -> None:
    assert report_address(given) == posted_to


DEEP_LIST = """
import json, sys
from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.runtime.command import RECURSION_LIMIT

sys.setrecursionlimit(RECURSION_LIMIT)
# an object may be nested 10,000 levels deep; a list adds two
deep = '{"a":' * 9_997 + "1" + "}" * 9_997
metadata = {"name": "deep", "namespace": "lab", "uid": "1", "resourceVersion": "1", "generation": 1}
item = {
    "apiVersion": "maskrcnn.dev/v1alpha1", "kind": "MaskRCNNExperiment", "metadata": metadata,
    "spec": {"podOverrides": {"affinity": "DEEP"}},
}
listed = json.loads(json.dumps({"items": [item]}).replace('"DEEP"', deep))
cache = Cache()
cache.put(EXPERIMENTS, listed["items"][0])
print([str(problem) for problem in cache.entry(Key("lab", "deep")).problems])
"""


def test_object_of_the_greatest_accepted_depth_is_decoded_and_has_a_problem() -> None:
    done = subprocess.run([sys.executable, "-c", DEEP_LIST], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['spec.podOverrides.affinity: is nested too deeply: at most 100 levels']"


def test_the_operator_decodes_what_is_nested_deeply() -> None:
    # it ends before it connects to a cluster
    code = "import sys; from maskrcnn_operator.cli import main; main(['controller', '--report-port', '0'])"
    code += "; print(sys.getrecursionlimit())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(RECURSION_LIMIT)


def test_version_is_that_of_the_project_for_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    expected = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for command, name in ((main, "maskrcnn-operator"), (trainer_main, "maskrcnn")):
        with pytest.raises(SystemExit) as ended:
            command(["--version"])
        assert ended.value.code == 0
        assert capsys.readouterr().out == f"{name} {expected}\n"


def test_source_that_is_not_installed_has_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert version() == "unknown"


def started(tmp_path: Path, *words: str) -> list[str]:
    """Return the log lines of a controller that finds no cluster."""
    done = subprocess.run(
        [*CONTROLLER, "--kubeconfig", str(tmp_path / "none"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_first_log_line_of_a_controller_has_the_version(tmp_path: Path) -> None:
    first, *_ = started(tmp_path)
    assert json.loads(first)["message"] == f"maskrcnn-operator {version()}, Python {platform.python_version()}"


def test_first_log_line_of_a_local_run_has_the_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["run", str(tmp_path / "absent.yaml")]) == 64
    assert caplog.messages[0] == f"maskrcnn-operator {version()}, Python {platform.python_version()}"


def test_log_level_leaves_out_what_is_below_it(tmp_path: Path) -> None:
    levels = {json.loads(line)["level"] for line in started(tmp_path, "--log-level", "error")}
    assert levels == {"error"}


@pytest.mark.parametrize(
    ("level", "own", "others"),
    [
        ("debug", logging.DEBUG, logging.WARNING),
        ("info", logging.INFO, logging.WARNING),
        ("error", logging.ERROR, logging.ERROR),
    ],
)
def test_other_packages_log_from_warning_on(
    level: LogLevel, own: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, ours = logging.Logger("root", logging.NOTSET), logging.Logger("maskrcnn_operator")
    monkeypatch.setattr(logging, "getLogger", lambda name=None: {None: root, "maskrcnn_operator": ours}.get(name, kopf))
    kopf = logging.Logger("kopf")
    set_up_logging("json", level)
    assert (ours.level, root.level, kopf.level) == (own, others, logging.CRITICAL)
