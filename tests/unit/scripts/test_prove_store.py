"""Tests of the proof of a real bucket, on the stub server, which can forget its conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scripts.prove_store import RACERS, Prover, Row, main
from tests.unit.object_store.clients import SCHEMES, connection_to, secret_in
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, refusal, serving


def rows(server: StubServer, directory: Path, scheme: str = "s3") -> list[Row]:
    with Prover(connection_to(server, directory, scheme), "ws/prove-1", rounds=1) as prover:
        return list(prover.rows(directory))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_store_that_compares_versions_is_right_and_left_as_it_was(scheme: str, tmp_path: Path) -> None:
    with serving(b={"ws/mine": b"x"}) as server:
        found = rows(server, tmp_path, scheme)
        assert [str(row) for row in found if not row.is_right] == []
        assert server.objects["b"].keys() == {"ws/mine"}
    assert sum("at once" in row.request for row in found) == 2


def without_conditions(seen: Seen) -> Answer | None:
    """Forget the conditions of a write."""
    for name in ("if-match", "if-none-match"):
        seen.headers.pop(name, None)
    return None


def test_store_that_ignores_conditions_is_found(tmp_path: Path) -> None:
    with serving(b={}) as server:
        server.plan = without_conditions
        wrong = {row.request: row.answer for row in rows(server, tmp_path) if not row.is_right}
    assert wrong["create it again"] == "written"
    assert wrong["update it from the version before"] == "written"
    assert wrong[f"{RACERS} creators at once, round 1"] == f"{RACERS} winners"
    assert wrong[f"{RACERS} updaters at once, round 1"] == f"{RACERS} winners"


def test_refused_deletion_is_shown(tmp_path: Path) -> None:
    with serving(b={}) as server:
        server.plan = lambda seen: refusal(403, "AccessDenied") if seen.method == "DELETE" else None
        wrong = [row for row in rows(server, tmp_path) if not row.is_right]
    assert next(row.answer for row in wrong).endswith(" refused")


def config(server: StubServer, directory: Path) -> str:
    secret_in(directory / "keys", "s3")
    path = directory / "stores.yaml"
    path.write_text(
        yaml.safe_dump([{"prefix": "s3://b", "endpoint": server.url, "allowHttp": True, "secretDir": "keys"}])
    )
    return str(path)


def test_command_prints_each_request_with_its_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(b={}) as server:
        assert main(["s3://b/ws", "--store-config", config(server, tmp_path), "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "write an object without a condition"
    assert lines[0].endswith("written               ok")
    assert lines[-1] == "All answers are right."


def test_command_fails_for_a_wrong_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(b={}) as server:
        server.plan = without_conditions
        assert main(["s3://b", "--store-config", config(server, tmp_path), "--rounds", "1"]) == 64
    assert "WRONG, expected: changed or exists" in capsys.readouterr().out


def test_store_that_refuses_writes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(b={}) as server:
        server.plan = lambda seen: refusal(403, "AccessDenied") if seen.method == "PUT" else None
        assert main(["s3://b", "--store-config", config(server, tmp_path)]) == 64
    assert "writing failed (HTTP 403, AccessDenied)" in capsys.readouterr().err


def test_invalid_url_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/a/path"]) == 64
    assert "URL: a URL must be s3://BUCKET/KEY" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["if-none-match", "if-match"])
@pytest.mark.parametrize("answer", [refusal(501, "NotImplemented"), refusal(400, "InvalidArgument")])
def test_store_that_refuses_conditional_writes_is_found_and_left_empty(
    tmp_path: Path, name: str, answer: Answer
) -> None:
    with serving(b={}) as server:
        server.plan = lambda seen: answer if seen.method == "PUT" and name in seen.headers else None
        wrong = [row for row in rows(server, tmp_path) if not row.is_right]
        assert server.objects["b"] == {}
    condition = "it doesn't exist" if name == "if-none-match" else "it is of a version"
    assert [(row.request, row.answer) for row in wrong] == [(f"write an object if {condition}", "no (StoreRefused)")]
