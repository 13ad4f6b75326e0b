"""The command line of the controller, and what it must not drag in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_operator.cli import build_parser, main
from maskrcnn_operator.runtime.command import RECURSION_LIMIT
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


def test_an_object_as_deep_as_the_api_server_takes_is_decoded_and_has_a_problem() -> None:
    done = subprocess.run([sys.executable, "-c", DEEP_LIST], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['spec.podOverrides.affinity: is nested too deeply: at most 100 levels']"


def test_the_operator_decodes_what_is_nested_deeply() -> None:
    # it ends before it reaches for a cluster
    code = "import sys; from maskrcnn_operator.cli import main; main(['controller', '--report-port', '0'])"
    code += "; print(sys.getrecursionlimit())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(RECURSION_LIMIT)
