"""Experiments of the scenarios: complete, but with trainings of about a minute."""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]

SPEC: Object = {
    "seed": 7,
    "deterministic": True,
    "totalSteps": 12,
    "trainBatchSize": 1,
    "evalBatchSize": 2,
    "numStepsPerEval": 6,
    "warmupSteps": 4,
    "initLearningRate": 0.01,
    "learningRateSteps": [10],
    "learningRateDecayLevels": [0.1],
    "loggingFrequency": 2,
    "dataConfig": {"imageSize": [128, 128], "numClasses": 4, "maxNumInstances": 12},
    "maskrcnnConfig": {
        "nlayers": 10,
        "freezeBn": False,
        "freezeBlocks": [],
        "gtMaskSize": 28,
        "batchSizePerIm": 16,
        "fastRcnnMlpHeadDim": 64,
        "mrcnnResolution": 16,
        "trainRpnPreNmsTopn": 64,
        "trainRpnPostNmsTopn": 32,
        "testRpnPreNmsTopn": 32,
        "testRpnPostNmsTopn": 16,
        "testDetectionsPerImage": 8,
    },
}
RAW = "/workspace/raw/shapes"
CONVERT: list[Object] = [
    {
        "name": f"convert-{split}",
        "datasetConvert": {
            "imageDir": f"{RAW}/images",
            "annotationsFile": f"{RAW}/{split}.json",
            "tag": split,
            "split": split,
            "numShards": 1,
        },
    }
    for split in ("train", "val")
]
GANG: Object = {"name": "train", "train": {}, "nodes": 2, "threadsPerProcess": 1}
RETRAIN: Object = {
    **GANG,
    "name": "retrain",
    "experiment": {"totalSteps": 4, "numStepsPerEval": 4, "learningRateSteps": [3], "l2WeightDecay": 0},
}
# long enough for more than one progress report, which are sent every half minute
REPORTING: Object = {**GANG, "experiment": {"totalSteps": 60, "numStepsPerEval": 30, "learningRateSteps": [50]}}
NINE_STEPS: list[Object] = [
    *CONVERT,
    REPORTING,
    {"name": "evaluate", "evaluate": {}},
    {"name": "prune", "prune": {"pruningThreshold": 0.9, "excludedLayers": ["rpn"]}},
    RETRAIN,
    {"name": "evaluate-pruned", "evaluate": {}},
    {"name": "inference", "inference": {"imageDir": f"{RAW}/samples", "threshold": 0.1, "includeMask": True}},
    {"name": "export", "export": {"dataType": "int8", "batchSize": 2, "calibration": {"batches": 2}}},
]


def experiment(name: str, steps: list[Object], spec: Object | None = None, **fields: Any) -> Object:
    """Return a MaskRCNNExperiment.

    Args:
        name: of the resource.
        steps: as in the manifest.
        spec: fields that override those of SPEC.
        fields: of ``spec`` in addition to workspace, experiment and steps.
    """
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": name},
        "spec": {
            "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
            "experiment": {**copy.deepcopy(SPEC), **(spec or {})},
            "steps": copy.deepcopy(steps),
            **fields,
        },
    }


def long_training(name: str, steps: int = 24, every: int = 6, gang: Object = GANG, **fields: Any) -> Object:
    """Return an experiment with two conversions and a training, which writes a checkpoint every ``every`` steps."""
    spec = {"totalSteps": steps, "numStepsPerEval": every, "learningRateSteps": [steps - 2]}
    return experiment(name, [*CONVERT, gang], spec, **fields)


def local_volume(name: str, namespace: str, path: str, size: str = "10Gi") -> list[Object]:
    """Return a PersistentVolume on a folder of this machine, which all nodes can access, and its claim."""
    anywhere = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
    modes = ["ReadWriteMany"]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": modes,
                "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": "maskrcnn"},
                "local": {"path": path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [anywhere]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "maskrcnn", "namespace": namespace},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": name,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    ]
