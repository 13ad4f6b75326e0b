"""Arguments, sizes, and order of the GPU check's runs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path("/check")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check_plan

    return gpu_check_plan


def test_options_have_the_types_of_their_defaults(plan: ModuleType) -> None:
    options = plan.parse_options(["batch=8", "xla=1", "tf32=false", "dtype=mixed_float16", "data=/a=b", "warm=0"])
    assert (options.batch, options.xla, options.tf32, options.warm) == (8, True, False, 0)
    assert (options.dtype, options.data) == ("mixed_float16", "/a=b")
    assert (options.height, options.width) == (832, 1344)


def test_last_of_equal_keys_counts(plan: ModuleType) -> None:
    assert plan.parse_options(["batch=8", "batch=2"]).batch == 2


def test_batch_sizes_of_an_inference_are_numbers(plan: ModuleType) -> None:
    assert plan.parse_options(["batches=1,6,24"]).batch_sizes == [1, 6, 24]


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("batch", "key=value"),
        ("bach=4", "unknown key"),
        ("batch=0", "at least 1"),
        ("batch=-1", "at least 1"),
        ("batch=four", "whole number"),
        ("xla=yes", "0 or 1"),
        ("dtype=float16", "mixed_float16"),
        ("batches=1,x", "batches=x"),
    ],
)
def test_invalid_argument_is_refused_with_its_name(plan: ModuleType, argument: str, named: str) -> None:
    with pytest.raises(plan.InvalidArgument, match=named):
        plan.parse_options([argument])


def test_runs_have_unique_names_and_known_stages(plan: ModuleType) -> None:
    import gpu_check

    assert len({run.name for run in plan.RUNS}) == len(plan.RUNS)
    assert {run.stage for run in plan.RUNS} <= set(gpu_check.STAGES)


def test_arguments_of_all_runs_are_valid(plan: ModuleType) -> None:
    for run in plan.RUNS:
        for rehearsal in (False, True):
            assert plan.parse_options(plan.arguments_of(run, FOLDER, [], rehearsal=rehearsal))


def test_every_run_of_a_rehearsal_is_small(plan: ModuleType) -> None:
    for run in plan.RUNS:
        options = plan.parse_options(plan.arguments_of(run, FOLDER, [], rehearsal=True))
        assert (options.height, options.batch, options.dtype) == (128, 1, "float32"), run.name
        assert options.width <= 192, run.name
        assert options.nlayers <= 18, run.name
        assert options.steps <= 4, run.name


def test_rehearsal_keeps_the_options_that_choose_code(plan: ModuleType) -> None:
    by_name = {run.name: plan.parse_options(plan.arguments_of(run, FOLDER, [], rehearsal=True)) for run in plan.RUNS}
    assert by_name["train-amp-xla"].xla
    assert by_name["deterministic"].deterministic
    assert not by_name["train-bn"].freeze_bn


def test_arguments_of_the_user_take_precedence(plan: ModuleType) -> None:
    [run] = plan.chosen_runs(["train-amp-8"])
    for rehearsal in (False, True):
        arguments = plan.arguments_of(run, FOLDER, ["batch=3", "data=/mine"], rehearsal=rehearsal)
        options = plan.parse_options(arguments)
        assert (options.batch, options.data) == (3, "/mine")


def test_parity_on_a_gpu_reads_the_file_that_the_cpu_writes(plan: ModuleType) -> None:
    written, read = (
        plan.parse_options(plan.arguments_of(run, FOLDER, [], rehearsal=False))
        for run in plan.chosen_runs(["parity-cpu", "parity-gpu"])
    )
    assert written.out == read.reference != ""
    assert [run.on_cpu for run in plan.chosen_runs(["parity-cpu", "parity-gpu"])] == [True, False]


def test_run_that_a_rehearsal_would_repeat_is_found(plan: ModuleType) -> None:
    first, compiled, eight = plan.chosen_runs(["train-fp32", "train-amp-xla", "train-fp32-8"])
    assert plan.same_as(eight, [first], FOLDER, []) is first
    assert plan.same_as(compiled, [first], FOLDER, []) is None


def test_unknown_run_is_refused(plan: ModuleType) -> None:
    with pytest.raises(plan.InvalidArgument, match="train-bf16"):
        plan.chosen_runs(["smoke", "train-bf16"])


def test_run_is_not_started_without_a_third_of_its_time(plan: ModuleType) -> None:
    run = plan.Run("a", "smoke", 90.0)
    assert plan.with_limit(run, 29.0) is None
    assert plan.with_limit(run, 30.0).limit == 30.0
    assert plan.with_limit(run, float("inf")).limit == 90.0
