"""The spec of a training together with its flags and its number of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.shared.variables import GPUS_VARIABLE
from maskrcnn_trainer.spec import SpecError
from maskrcnn_trainer.training import inputs
from maskrcnn_trainer.training.inputs import read_inputs


@pytest.fixture(name="spec")
def _spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a spec whose files count as present."""
    monkeypatch.setattr(inputs, "find_files", lambda _pattern: [])
    (tmp_path / "val.json").write_text("{}")
    files = {"trainingFilePattern": "train", "validationFilePattern": "val", "valJsonFile": str(tmp_path / "val.json")}
    fields = {
        "totalSteps": 1,
        "initLearningRate": 0.01,
        "dataConfig": {"imageSize": [128, 128], "numClasses": 2, **files},
        "maskrcnnConfig": {"freezeBn": False},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


@pytest.mark.parametrize("flag", ["use_amp", "xla"])
def test_flag_overrides_the_spec(spec: str, flag: str) -> None:
    assert not getattr(read_inputs(spec), flag)
    assert getattr(read_inputs(spec, **{flag: True}), flag)  # type: ignore[arg-type]


def test_flag_that_several_processes_can_not_have_is_refused(spec: str) -> None:
    assert read_inputs(spec, xla=True).xla
    with pytest.raises(SpecError, match=r"xla: true with 2 processes needs maskrcnnConfig\.syncBn false"):
        read_inputs(spec, xla=True, processes=2)


def test_it_is_refused_once_before_processes_are_started(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HOROVOD_RANK", raising=False)
    monkeypatch.setenv(GPUS_VARIABLE, "")  # the command sets it
    with pytest.raises(SystemExit) as refused:
        raise SystemExit(main(["train", "-e", spec, "-d", str(tmp_path / "out"), "--gpus", "2", "--xla"]))
    assert refused.value.code == 64
    assert caplog.text.count("xla: true with 2 processes") == 1
