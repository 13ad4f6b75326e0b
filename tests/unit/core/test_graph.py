from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.graph import ModelUse, build_graph


def test_data_and_models_of_the_nine_steps(make: Any) -> None:
    graph = build_graph(make())
    assert graph.problems == ()
    data = ("convert-train", "convert-val")
    expected = {
        "convert-train": ((), None, None),
        "convert-val": ((), None, None),
        "train": (data, None, None),
        "evaluate": (data, "train", ModelUse.ARGUMENT),
        "prune": ((), "train", ModelUse.ARGUMENT),
        "retrain": (data, "prune", ModelUse.PRUNED_MODEL_PATH),
        "evaluate-pruned": (data, "retrain", ModelUse.ARGUMENT),
        "inference": ((), "retrain", ModelUse.ARGUMENT),
        "export": (data, "retrain", ModelUse.ARGUMENT),
    }
    assert {name: (node.data, node.model, node.model_use) for name, node in graph.nodes.items()} == expected
    assert graph.ancestors("export") == {"convert-train", "convert-val", "train", "prune", "retrain"}
    after_prune = {name for name in graph.nodes if "prune" in graph.ancestors(name)}
    assert after_prune == {"retrain", "evaluate-pruned", "inference", "export"}
    order = graph.topological_order()
    assert all(order.index(need) < order.index(node.name) for node in graph.nodes.values() for need in node.needs)


@pytest.mark.parametrize(
    ("step", "change", "model", "use"),
    [
        ("retrain", {"modelFrom": "train"}, "train", ModelUse.CHECKPOINT),
        ("retrain", {"experiment": {"prunedModelPath": "/workspace/own.tlt"}}, None, None),
        ("inference", {"modelPath": "/workspace/own.tlt"}, None, None),
        ("inference", {"modelPath": "s3://workspace/nuclei/train/model.tlt"}, None, None),
        ("retrain", {"experiment": {"prunedModelPath": "s3://workspace/nuclei/prune/model.tlt"}}, None, None),
        ("inference", {"modelFrom": "export"}, "export", ModelUse.ARGUMENT),
        ("evaluate", {"modelFrom": "retrain"}, "retrain", ModelUse.ARGUMENT),
    ],
)
def test_named_models(make: Any, step: str, change: dict[str, Any], model: str | None, use: ModelUse | None) -> None:
    graph = build_graph(make(lambda spec: find(spec, step).update(change)))
    assert graph.problems == ()
    assert (graph.nodes[step].model, graph.nodes[step].model_use) == (model, use)


@pytest.mark.parametrize("change", [{"dataType": "fp16"}, {"calibration": {"imageDir": "/workspace/samples"}}])
def test_an_export_that_reads_no_records_waits_for_no_data(make: Any, change: dict[str, Any]) -> None:
    graph = build_graph(make(lambda spec: find(spec, "export")["export"].update(change)))
    assert graph.nodes["export"].data == ()


def find(spec: dict[str, Any], name: str) -> dict[str, Any]:
    step: dict[str, Any] = next(step for step in spec["steps"] if step["name"] == name)
    return step


@pytest.mark.parametrize(
    ("step", "change", "field", "message"),
    [
        ("evaluate", {"name": "train"}, "spec.steps[3].name", "found train, which is also the name of spec.steps[2]"),
        ("evaluate", {"dependsOn": ["a", "train"]}, "spec.steps[3].dependsOn[0]", "found a, but there is no such step"),
        ("evaluate", {"modelFrom": "a"}, "spec.steps[3].modelFrom", "found a, but there is no such step"),
        (
            "evaluate",
            {"modelFrom": "train", "modelPath": "/m.tlt"},
            "spec.steps[3].modelPath",
            "modelFrom is also given",
        ),
        ("evaluate", {"modelFrom": "prune"}, "spec.steps[3].modelFrom", "must be retrained first"),
        ("evaluate", {"modelFrom": "convert-val"}, "spec.steps[3].modelFrom", "makes no model"),
        ("evaluate", {"modelFrom": "evaluate-pruned"}, "spec.steps[3].modelFrom", "makes no model"),
        ("export", {"modelFrom": "prune"}, "spec.steps[8].modelFrom", "must be retrained first"),
        ("prune", {"modelFrom": "export"}, "spec.steps[4].modelFrom", "prune cannot read the exported model"),
        ("retrain", {"modelFrom": "export"}, "spec.steps[5].modelFrom", "train cannot read the exported model"),
        ("train", {"modelPath": "/m.tlt"}, "spec.steps[2].modelPath", "experiment.checkpoint"),
        (
            "retrain",
            {"modelFrom": "train", "experiment": {"checkpoint": "/c"}},
            "spec.steps[5].experiment.checkpoint",
            "modelFrom is also given",
        ),
        (
            "retrain",
            {"modelFrom": "prune", "experiment": {"prunedModelPath": "/p"}},
            "spec.steps[5].experiment.prunedModelPath",
            "modelFrom is also given",
        ),
        ("convert-val", {"modelFrom": "train"}, "spec.steps[1].modelFrom", "uses no model"),
        ("convert-val", {"modelPath": "/m.tlt"}, "spec.steps[1].modelPath", "uses no model"),
        ("convert-train", {"dependsOn": ["train"]}, "spec.steps[0].dependsOn", "wait for each other"),
        ("train", {"dependsOn": ["train"]}, "spec.steps[2].dependsOn", "train needs train"),
        ("train", {"modelFrom": "retrain"}, "].modelFrom", "wait for each other"),
    ],
)
def test_problems_name_the_field(make: Any, step: str, change: dict[str, Any], field: str, message: str) -> None:
    problems = build_graph(make(lambda spec: find(spec, step).update(change))).problems
    found = [problem for problem in problems if message in problem.message]
    assert found, problems
    assert field in found[0].field


def test_a_model_user_without_a_model(make: Any) -> None:
    problems = build_graph(make(lambda spec: spec.update(steps=spec["steps"][3:4]))).problems
    assert [problem.field for problem in problems] == ["spec.steps[0].modelFrom"]


def test_one_validation_set(make: Any) -> None:
    problems = build_graph(
        make(lambda spec: find(spec, "convert-train")["datasetConvert"].update(split="val"))
    ).problems
    assert [problem.field for problem in problems] == ["spec.steps[1].datasetConvert.split"]


def test_every_additional_validation_set_names_the_first(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        find(spec, "convert-train")["datasetConvert"]["split"] = "val"
        spec["steps"].insert(2, {**find(spec, "convert-val"), "name": "third"})

    problems = build_graph(make(change)).problems
    assert [problem.message.split(";")[0] for problem in problems] == [
        "step convert-train already converts the val set"
    ] * 2


def test_all_problems_are_found_at_once(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        find(spec, "evaluate")["modelFrom"] = "a"
        find(spec, "export")["dependsOn"] = ["b"]
        find(spec, "inference")["modelFrom"] = "prune"

    assert [problem.field for problem in build_graph(make(change)).problems] == [
        "spec.steps[3].modelFrom",
        "spec.steps[7].modelFrom",
        "spec.steps[8].dependsOn[0]",
    ]


def test_processes_that_would_share_a_gpu_are_a_problem(make: Any) -> None:
    """An older definition accepts such an object."""
    experiment = make(lambda spec: spec["steps"][2].update(gpusPerNode=2, processesPerNode=3))
    assert [str(problem) for problem in build_graph(experiment).problems] == [
        "spec.steps[2].processesPerNode: found 3, but gpusPerNode is 2, and two processes can't share a GPU; leave "
        "processesPerNode out"
    ]


@pytest.mark.parametrize(
    ("whole", "own", "gpus", "refused"),
    [
        ("nvidia.com/mig-1g.10gb", None, 2, True),
        ("nvidia.com/gpu", "nvidia.com/mig-1g.10gb", 2, True),
        ("nvidia.com/mig-1g.10gb", "nvidia.com/gpu", 2, False),
        ("nvidia.com/mig-1g.10gb", None, 1, False),
    ],
)
def test_several_mig_instances_are_a_problem(make: Any, whole: str, own: str | None, gpus: int, refused: bool) -> None:
    def change(spec: dict[str, Any]) -> None:
        for step in spec["steps"]:
            step.pop("gpusPerNode", None)
        spec["podOverrides"] = {"gpuResource": whole}
        spec["steps"][2].update(gpusPerNode=gpus, podOverrides={"gpuResource": own} if own else {})

    problems = [str(problem) for problem in build_graph(make(change)).problems]
    assert problems == (
        [
            f"spec.steps[2].gpusPerNode: found {gpus}, but a process sees only one MIG instance "
            "(nvidia.com/mig-1g.10gb); request 1, with nodes for more"
        ]
        if refused
        else []
    )
