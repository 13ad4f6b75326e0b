"""Tests of the settings of a connection: credential plugins of a kubeconfig, and messages of the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.cluster.connection import NO_CONFIGURATION, NO_CREDENTIALS, load_access
from maskrcnn_operator.cluster.errors import ApiError

VERSION = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def _outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def kubeconfig(folder: Path, program: str, *, command: str = sys.executable) -> Path:
    """Return a kubeconfig whose credential plugin is a program of Python."""
    user = {"exec": {"apiVersion": VERSION, "command": command, "args": ["-c", program]}}
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://host"}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return file


def printing(status: Mapping[str, Any]) -> str:
    document = {"apiVersion": VERSION, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(document)!r})"


async def test_token_of_the_plugin_is_used(tmp_path: Path) -> None:
    access = await load_access(kubeconfig(tmp_path, printing({"token": "t"})))
    assert access.configuration.api_key == {"BearerToken": "Bearer t"}


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (
            "import sys; sys.exit('\\nthe session \"a\" isn\\'t valid')",
            'process returned 1. the session "a" isn\'t valid',
        ),
        ("raise SystemExit(255)", "process returned 255"),
        ("print('no JSON')", "failed to decode process output"),
        (printing({}), "missing token or clientCertificateData field"),
        (printing({"clientCertificateData": "c"}), "missing clientKeyData field"),
    ],
)
async def test_failed_plugin_is_an_error_with_its_output(
    tmp_path: Path, program: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ApiError, match="the kubeconfig's credential plugin failed: ") as error:
        await load_access(kubeconfig(tmp_path, program))
    assert error.value.reason == NO_CREDENTIALS
    assert problem in error.value.message
    assert caplog.text == ""


async def test_missing_plugin_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="plugin failed: .*No such file or directory: 'no-such-plugin'"):
        await load_access(kubeconfig(tmp_path, "", command="no-such-plugin"))


async def test_missing_kubeconfig_is_an_error_with_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ApiError, match=f"no usable service account or kubeconfig: Config not found: {tmp_path}/none"):
        await load_access(tmp_path / "none")
    assert caplog.text == ""


async def test_invalid_kubeconfig_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    with pytest.raises(ApiError) as error:
        await load_access(tmp_path / "kubeconfig")
    assert error.value.reason == NO_CONFIGURATION
