"""Inputs of a task in results directories: in its own, and in those of other experiments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.results.inputs import inputs_of
from maskrcnn_trainer.results.ownership import claim

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"
C = "cccccccc333333333333333333333333-v1"


def start(directory: Path, fingerprint: str, *task: str, result: bool = False) -> None:
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
    if result:
        (directory / "model.tlt").write_text(fingerprint)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


WAYS = ("itself", "below", "above", "link to it", "link above", "dots", "mapped")


@pytest.mark.parametrize(
    ("how", "state"),
    # there is nothing to read behind a broken link
    [
        (how, state)
        for how in WAYS
        for state in ("absent", "empty", "claimed")
        if (how, state) != ("link to it", "absent")
    ],
)
def test_an_input_in_or_above_the_results_directory_is_refused(
    tmp_path: Path, how: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "ws" / "nuclei" / "infer"
    directory.parent.mkdir(parents=True)
    if state == "empty":
        directory.mkdir()
    elif state == "claimed":
        start(directory, A)
    monkeypatch.setenv("MASKRCNN_WORKSPACE", str(tmp_path / "ws"))
    (tmp_path / "to-it").symlink_to(directory)
    (tmp_path / "to-parent").symlink_to(directory.parent)
    path = {
        "itself": f"{directory}",
        "below": f"{directory}/images",
        "above": f"{directory.parent.parent}",
        "link to it": f"{tmp_path}/to-it",
        "link above": f"{tmp_path}/to-parent",
        "dots": f"{directory}/../x/../infer/.",
        "mapped": "/workspace/nuclei/infer/images",
    }[how]
    before = snapshot(tmp_path)
    for name in ("-i", "--cal_image_dir"):
        with pytest.raises(InvalidInput, match="the results directory of this step") as caught:
            start(directory, A, "inference", name, path, "-r", str(directory))
        assert (caught.value.exit_code, caught.value.reason) == (64, "ForeignFiles")
        assert str(path) in str(caught.value)
    assert snapshot(tmp_path) == before
    assert directory.exists() == (state != "absent")


def test_inputs_next_to_the_results_directory_are_accepted(tmp_path: Path) -> None:
    home = tmp_path / "nuclei"
    (home / "infer-images").mkdir(parents=True)
    start(home / "infer", A, "inference", "-i", str(home / "infer-images"), "-m", str(home / "train" / "model.tlt"))


@pytest.mark.parametrize("aside", [False, True])
def test_results_of_another_experiment_that_are_read_stay_as_they_are(tmp_path: Path, aside: bool) -> None:
    """That includes older results, and edits that move and delete the results of the reading step."""
    other = tmp_path / "cells" / "train"
    for fingerprint in (A, B):
        start(other, fingerprint, result=True)
    given = (tmp_path / "cells" / "train.aaaaaaaa" if aside else other) / "model.tlt"
    before = snapshot(tmp_path / "cells")
    for fingerprint in (A, B, C, A, B):
        start(tmp_path / "nuclei" / "train", fingerprint, "evaluate", "-m", str(given), result=True)
        assert snapshot(tmp_path / "cells") == before


@pytest.mark.parametrize(
    "text",
    [
        "dataConfig:\n  trainingFilePattern: {path}\n",
        "note: 2020-13-45\ndataConfig:\n  trainingFilePattern: {path}\n",
        "kind: MaskRCNNExperiment\nspec: {{experiment: {{checkpoint: {path}}}}}\n---\nkind: Other\n",
        'data_config {{\n  training_file_pattern: "{path}"\n}}\n',
        "learning_rate: !!bool x\ncheckpoint: '{path}'\n",
    ],
    ids=["YAML", "no date", "manifest", "prototxt", "damaged"],
)
def test_paths_in_a_spec_are_read_as_the_task_reads_them(tmp_path: Path, text: str) -> None:
    results = tmp_path / "results"
    start(results, A, result=True)
    spec = tmp_path / "spec"
    spec.write_text(text.format(path=results / "model.tlt"))
    with pytest.raises(InvalidInput, match="of -e"):
        start(results, B, "train", "-e", str(spec))
    assert (results / "model.tlt").is_file()


@pytest.mark.timeout(30)
def test_a_pipe_as_spec_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = inputs_of(["train", "-e", str(tmp_path / "pipe"), "-d", str(tmp_path / "out")])
    assert [one.name for one in given] == ["-e"]


def test_url_of_a_file_is_its_path_and_other_urls_are_left_out(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("checkpoint: file:///m\ndataConfig: {trainingFilePattern: 's3://data/*, file:///t/*,/u/*'}\n")
    given = inputs_of(["evaluate", "-e", f"file://{spec}", "-m", "s3://data/m.tlt", "-r", "file:///out"])
    assert {one.path for one in given} == {"/m", "/t/*", "/u/*", str(spec)}
