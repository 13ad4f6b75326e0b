"""Tests of the list of results: what is there, and what is broken or foreign."""

from __future__ import annotations

import json

import pytest
from tests.unit.artifacts.bucket import Bucket, Through, attempt, own

from maskrcnn_trainer.artifacts.listing import list_results
from maskrcnn_trainer.artifacts.names import parse_name
from maskrcnn_trainer.artifacts.reading import MOST_UNUSABLE
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import run_decision
from maskrcnn_trainer.object_store.fence.tombstones import delete_experiment
from maskrcnn_trainer.object_store.fence_store import StoreLevel


def with_results(experiment: str = "exp") -> Bucket:
    bucket = Bucket()
    own(bucket, experiment)
    attempt(bucket, experiment=experiment).publish({"result.json": b"12345", "logs/a.log": b"678"}, complete=True)
    return bucket


def steps(bucket: Bucket, experiment: str = "exp") -> dict[str, object]:
    found: dict[str, object] = list_results(bucket, None).document["experiments"][experiment]["steps"]
    return found


def test_document_has_owner_steps_and_sizes() -> None:
    assert list_results(with_results(), None).document == {
        "experiments": {
            "exp": {
                "owner": {"id": "me", "namespace": "team", "name": "exp"},
                "ownerEpoch": 1,
                "steps": {
                    "train": {
                        "current": {
                            "fingerprint": "f1",
                            "complete": True,
                            "files": 2,
                            "bytes": 8,
                            "checkpoints": [],
                        },
                        "previous": None,
                    }
                },
            }
        }
    }


def test_set_of_the_fingerprint_before_is_previous() -> None:
    bucket = with_results()
    attempt(bucket, number=2, writer="bb", fingerprint="f2").publish({"x": b"1"}, fingerprint="f2")
    found = list_results(bucket, None).document["experiments"]["exp"]["steps"]["train"]
    assert [found[slot]["fingerprint"] for slot in ("current", "previous")] == ["f2", "f1"]
    assert [found[slot]["complete"] for slot in ("current", "previous")] == [False, True]


def test_name_limits_the_list_to_one_experiment() -> None:
    bucket = with_results()
    own(bucket, "other")
    assert list(list_results(bucket, parse_name("other")).document["experiments"]) == ["other"]


def test_files_of_a_named_step_are_listed() -> None:
    found = list_results(with_results(), parse_name("exp/train"))
    paths = found.document["experiments"]["exp"]["steps"]["train"]["current"]["paths"]
    assert [(one["path"], one["bytes"]) for one in paths] == [("result.json", 5), ("logs/a.log", 3)]
    assert "logs/a.log" in found.table


def test_files_of_a_named_directory_are_listed_alone() -> None:
    found = list_results(with_results(), parse_name("exp/train/logs"))
    assert found.published is not None
    assert [file.path for file in found.published.files] == ["logs/a.log"]


def test_named_step_without_results_is_refused() -> None:
    with pytest.raises(InvalidInput, match="exp/evaluate has no results"):
        list_results(with_results(), parse_name("exp/evaluate"))


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"x" * (1024 * 1024 + 1), b'{"writeId": "\x1b[2J"}'], ids=["cut", "list", "huge", "escape"]
)
def test_broken_pointer_is_a_problem_of_its_step_alone(content: bytes) -> None:
    bucket = with_results()
    bucket.put("exp/broken/run.json", content)
    found = list_results(bucket, None)
    broken = found.document["experiments"]["exp"]["steps"]["broken"]
    assert broken["current"] is None
    assert "exp/broken/run.json" in broken["problem"]
    assert found.document["experiments"]["exp"]["steps"]["train"]["current"]["files"] == 2
    assert "exp/broken/run.json" in found.table


def test_manifest_that_does_not_exist_is_a_problem() -> None:
    bucket = with_results()
    manifest = next(key for key in bucket.objects if key.endswith("manifest.json"))
    del bucket.objects[manifest]
    assert "manifest that doesn't exist" in json.dumps(steps(bucket)["train"])


def test_manifest_of_another_fingerprint_is_a_problem() -> None:
    bucket = with_results()
    manifest = next(key for key in bucket.objects if key.endswith("manifest.json"))
    bucket.put(manifest, bucket.objects[manifest][0].replace(b'"f1"', b'"f9"'))
    assert "isn't the manifest of the fingerprint" in json.dumps(steps(bucket)["train"])


def test_manifest_with_a_path_outside_is_a_problem() -> None:
    bucket = with_results()
    manifest = next(key for key in bucket.objects if key.endswith("manifest.json"))
    bucket.put(manifest, bucket.objects[manifest][0].replace(b"logs/a.log", b"../a.log"))
    assert "../a.log" in json.dumps(steps(bucket)["train"])


def test_set_that_is_replaced_meanwhile_is_read_again() -> None:
    bucket = with_results()
    running = attempt(bucket, number=2, writer="bb", fingerprint="f2")
    first = running.publish({"x": b"1"}, fingerprint="f2")
    send = bucket.send

    def replaced_after_the_pointer(request):  # type: ignore[no-untyped-def]
        answer = send(request)
        if request.__class__.__name__ == "GetRecord" and request.key == "exp/train/run.json" and not done:
            done.append(True)
            running.publish({"x": b"22"}, fingerprint="f2")
            for key in [key for key in bucket.objects if "-bb-1-manifest" in key]:
                del bucket.objects[key]
        return answer

    done: list[bool] = []
    found = list_results(Through(bucket, replaced_after_the_pointer), None).document["experiments"]["exp"]["steps"][
        "train"
    ]
    assert first.files[0].size == 1
    assert found["current"]["bytes"] == 2


def test_broken_owner_is_a_problem_of_its_experiment() -> None:
    bucket = with_results()
    bucket.put("exp/owner.json", b"{}")
    found = list_results(bucket, None).document["experiments"]["exp"]
    assert found["owner"] is None
    assert found["ownerEpoch"] == 0
    assert "exp/owner.json" in found["problem"]
    assert found["steps"]["train"]["current"]["files"] == 2


def test_names_that_no_step_can_have_are_listed_with_a_problem() -> None:
    bucket = with_results()
    bucket.put("exp/\u202eniart/run.json", b"{}")
    bucket.put("b\u00f6se/train/run.json", b"{}")
    found = list_results(bucket, None)
    experiments = found.document["experiments"]
    assert "isn't a name" in experiments["exp"]["steps"]["\u202eniart"]["problem"]
    assert "isn't a name" in experiments["b\u00f6se"]["problem"]
    assert "\u202e" not in found.table
    assert "\\u202eniart" in found.table


def test_foreign_objects_are_no_experiments() -> None:
    bucket = with_results()
    for key in ("images/1.jpg", "readme.txt", "data/train/other.json", "deep/a/b/run.json"):
        bucket.put(key, b"x")
    assert list(list_results(bucket, None).document["experiments"]) == ["exp"]


def test_deleted_experiment_is_shown_as_deleted() -> None:
    bucket = with_results()
    run_decision(delete_experiment("exp", "dd"), bucket.send)
    found = list_results(bucket, None)
    assert found.document["experiments"]["exp"]["owner"] is None
    assert found.document["experiments"]["exp"]["ownerEpoch"] == 2
    assert found.table.startswith("exp: deleted\n")


def test_table_shows_owner_state_and_size() -> None:
    lines = list_results(with_results(), None).table.splitlines()
    assert lines[0] == "exp: owner me, namespace team, epoch 1"
    assert lines[2].split() == ["train", "complete", "2", "0.0", "kB", "0", "f1"]


def test_url_without_results_is_shown_as_empty() -> None:
    found = list_results(Bucket(), None)
    assert found.document == {"experiments": {}}
    assert found.table == "No results.\n"
    assert found.absence("s3://b/w").startswith("URL: no experiment has results directly below it")


def test_experiment_with_a_key_that_cannot_be_listed_is_shown_without_steps() -> None:
    bucket = with_results("other")
    own(bucket)
    attempt(bucket).publish({"a": b"1"})
    bucket.unlistable = {"exp"}
    found = list_results(bucket, None)
    assert not found.overview.complete
    experiments = found.document["experiments"]
    assert experiments["exp"]["owner"] is not None
    assert experiments["exp"]["steps"] == {}
    assert list(experiments["other"]["steps"]) == ["train"]


def test_named_step_is_found_next_to_a_key_that_cannot_be_listed() -> None:
    bucket = with_results()
    bucket.unlistable = {"", "exp"}
    found = list_results(bucket, parse_name("exp/train"))
    assert found.overview.complete
    assert list(found.document["experiments"]["exp"]["steps"]) == ["train"]


def test_only_some_of_many_unusable_folders_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = with_results()
    for number in range(MOST_UNUSABLE + 50):
        bucket.put(f"exp/{number} images/1.jpg", b"x")
    levels: list[str] = []
    level = bucket.level

    def counted(prefix: str) -> StoreLevel:
        levels.append(prefix)
        return level(prefix)

    monkeypatch.setattr(bucket, "level", counted)
    assert list(steps(bucket)) == ["train"]
    assert len(levels) == MOST_UNUSABLE + 2
