"""Write manifests.yaml: experiments with random steps and fields, from which the goldens are built.

    python -m tests.unit.goldens.random_manifests

The file is an input of the goldens: if a changed script rewrites it, the goldens belong to other experiments.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).with_name("manifests.yaml")
COUNT = 50
SEED = 18

EXPERIMENT: dict[str, tuple[Any, ...]] = {
    "seed": (0, 7, 123),
    "useAmp": (True, False),
    "warmupSteps": (0, 10, 1000),
    "warmupLearningRate": (0.0, 1e-4),
    "scaleLearningRate": (True, False),
    "trainBatchSize": (1, 4),
    "evalBatchSize": (1, 8),
    "numStepsPerEval": (50, 500),
    "momentum": (0.0, 0.9),
    "l1WeightDecay": (0.0, 1e-5),
    "l2WeightDecay": (0.0, 1e-4),
    "globalGradientClipRatio": (0.0, 5.0),
    "checkpoint": ("/workspace/pretrained/resnet50.hdf5", "/data/weights.safetensors"),
    "keepCheckpoints": (0, 3),
    "deterministic": (True, False),
    "visualizeImagesSummary": (True, False),
    "loggingFrequency": (1, 20),
    "reportFrequency": (2, 10),
    "saveCheckpointsSteps": (25, 400),
}
DATA: dict[str, tuple[Any, ...]] = {
    "augmentInputData": (True, False),
    "evalSamples": (10, 500),
    "trainingFilePattern": ("/workspace/records/train*.tfrecord",),
    "skipCrowdDuringTraining": (True, False),
    "prefetchBufferSize": (2, 4),
    "shuffleBufferSize": (10, 4096),
    "nWorkers": (2, 16),
    "maxNumInstances": (50, 200),
    "augmentation": ({"scaleJitter": [0.8, 1.2]}, {}),
}
MODEL: dict[str, tuple[Any, ...]] = {
    "nlayers": (10, 18, 34, 50, 101),
    "arch": ("resnet", "resnet_v1_5"),
    "freezeBn": (True, False),
    "freezeBlocks": ([], [0], [0, 1, 2]),
    "gtMaskSize": (56, 112),
    "rpnBatchSizePerIm": (64, 256),
    "rpnFgFraction": (0.25, 0.5),
    "batchSizePerIm": (128, 512),
    "trainRpnPreNmsTopn": (500, 2000),
    "trainRpnNmsThreshold": (0.6, 0.7),
    "testDetectionsPerImage": (20, 100),
    "testNms": (0.4, 0.5),
    "testRpnPostNmsTopn": (200, 1000),
    "aspectRatios": ([[1.0, 1.0], [1.4, 0.7], [0.7, 1.4]], [[1.0, 1.0]]),
    "rpnBoxLossWeight": (1.0, 2.0),
}
TASKS: dict[str, dict[str, tuple[Any, ...]]] = {
    "datasetConvert": {
        "tag": ("nuclei", "set_2"),
        "numShards": (1, 256),
        "includeMask": (True, False),
        "skipBadImages": (True, False),
        "crowdAsObjects": (True, False),
    },
    "train": {"output": ("last", "best")},
    "evaluate": {},
    "prune": {
        "normalizer": ("max", "L2"),
        "equalizationCriterion": ("union", "intersection", "arithmetic_mean", "geometric_mean"),
        "pruningGranularity": (4, 8),
        "pruningThreshold": (0.1, 0.65),
        "minNumFilters": (8, 16),
        "excludedLayers": ([], ["conv1"]),
    },
    "inference": {
        "threshold": (0.3, 0.6),
        "classMap": ("/workspace/names.txt", "/data/names.txt"),
        "includeMask": (True, False),
        "exif": (True, False),
    },
    "export": {
        "dataType": ("fp32", "fp16", "int8"),
        "batchSize": (1, 8),
        "maxBatchSize": (1, 4),
        "maxWorkspaceSize": (1 << 20, 1 << 31),
        "preprocessing": (True, False),
        "genDsConfig": (True, False),
        "calibration": ({"batches": 4}, {"imageDir": "/workspace/calibration"}),
        "engine": ({"build": True}, {"build": False}),
    },
}
STEP: dict[str, tuple[Any, ...]] = {
    "gpusPerNode": (1, 2),
    "threadsPerProcess": (1, 8),
    "resources": ({"requests": {"cpu": "4", "memory": "8Gi"}}, {"limits": {"cpu": 2}}),
    "image": ("trainer:2", "registry.example.com/trainer@sha256:" + "0" * 64),
    "podOverrides": ({"nodeSelector": {"pool": "cpu"}}, {"env": [{"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}]}),
    "activeDeadlineSeconds": (600, 7200),
    "revision": ("", "again"),
}
POD: dict[str, tuple[Any, ...]] = {
    "labels": ({"team": "vision"}, {"kueue.x-k8s.io/priority-class": "high"}),
    "annotations": ({"example.com/owner": "lab"}, {"kueue.x-k8s.io/podset-preferred-topology": "rack"}),
    "nodeSelector": ({"gpu": "a100"},),
    "tolerations": ([{"key": "gpu", "operator": "Exists"}],),
    "env": ([{"name": "OMP_NUM_THREADS", "value": "2"}],),
    "imagePullSecrets": ([{"name": "pull"}],),
}
WHOLE: dict[str, tuple[Any, ...]] = {
    "image": ("trainer:3",),
    "encryptionKeySecretRef": ({"name": "key", "key": "key"},),
    "queueName": ("team-a",),
    "maxRestarts": (0, 5),
    "activeDeadlineSeconds": (3600,),
    "preRunningDeadlineSeconds": (300,),
    "ttlSecondsAfterFinished": (86400,),
}


class Draws:
    """Random experiments drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - must be reproducible

    def some(self, table: dict[str, tuple[Any, ...]], share: float) -> dict[str, Any]:
        """Return some of the fields in ``table``, each with one of its values."""
        return {name: self._random.choice(values) for name, values in table.items() if self._random.random() < share}

    def experiment(self) -> dict[str, Any]:
        """Return the fields of an experiment, always including the length of the training."""
        found = self.some(EXPERIMENT, 0.4)
        found |= self._random.choice(({"totalSteps": 2000}, {"numEpochs": 2, "numExamplesPerEpoch": 800}))
        found |= {"initLearningRate": self._random.choice((0.01, 0.02))}
        found |= self._random.choice(({}, {"learningRateSteps": [1200, 1600], "learningRateDecayLevels": [0.1, 0.01]}))
        data = {"imageSize": self._random.choice(([256, 256], [832, 1344])), "numClasses": self._random.choice((2, 91))}
        data |= self.some(DATA, 0.3)
        return {**found, "dataConfig": data, "maskrcnnConfig": self.some(MODEL, 0.4)}

    def step(self, name: str, task: str, **fields: Any) -> dict[str, Any]:
        """Return a step with the task."""
        options = self.some(TASKS[task], 0.5)
        if task == "datasetConvert":
            options |= {"imageDir": f"/workspace/raw/{name}", "annotationsFile": f"/workspace/raw/{name}.json"}
        if task == "inference":
            options |= {"imageDir": "/workspace/samples"}
        step = {"name": name, task: options, **self.some(STEP, 0.2), **fields}
        if task == "train" and self._random.random() < 0.4:
            step |= {"nodes": 2, "processesPerNode": self._random.choice((1, 4))}
            if 0 < step.get("gpusPerNode", 0) < step["processesPerNode"]:
                step["gpusPerNode"] = step["processesPerNode"]
        if task != "datasetConvert" and self._random.random() < 0.3:
            step["experiment"] = self._random.choice(({"seed": 9}, {"maskrcnnConfig": {"testNms": 0.45}}))
        return step

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps: a training, and some steps before and after it."""
        found = []
        if self._random.random() < 0.7:
            found.append(self.step("convert-train", "datasetConvert"))
        if self._random.random() < 0.5:
            found.append(self.step("convert-val", "datasetConvert"))
            found[-1]["datasetConvert"]["split"] = "val"
        found.append(self.step("train", "train"))
        if self._random.random() < 0.5:
            found.append(self.step("evaluate", "evaluate"))
        if self._random.random() < 0.6:
            found += [self.step("prune", "prune"), self.step("retrain", "train")]
        if self._random.random() < 0.6:
            found.append(self.step("export", "export"))
        if self._random.random() < 0.5:
            found.append(self.step("inference", "inference", dependsOn=["train"]))
        if self._random.random() < 0.2:
            found.append(self.step("another", "evaluate", modelFrom="train"))
        return found

    def manifest(self, number: int) -> dict[str, Any]:
        """Return the manifest of one experiment."""
        spec = {"workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}}}
        spec["workspace"] |= self._random.choice(({}, {"subPath": "lab"}))
        spec |= self.some(WHOLE, 0.2)
        if self._random.random() < 0.3:
            spec["podOverrides"] = self.some(POD, 0.4)
        spec |= {"experiment": self.experiment(), "steps": self.steps()}
        if not any(step.get("datasetConvert", {}).get("split") == "val" for step in spec["steps"]):
            spec["experiment"]["dataConfig"] |= {
                "validationFilePattern": "/workspace/records/val*.tfrecord",
                "valJsonFile": "/workspace/raw/val.json",
            }
        if not any(step["name"] == "convert-train" for step in spec["steps"]):
            spec["experiment"]["dataConfig"].setdefault("trainingFilePattern", "/data/train*.tfrecord")
        metadata = {"name": f"random-{number:02d}"}
        return {
            "apiVersion": "maskrcnn.dev/v1alpha1",
            "kind": "MaskRCNNExperiment",
            "metadata": metadata,
            "spec": spec,
        }


def main() -> None:
    """Write manifests.yaml."""
    draws = Draws(SEED)

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    manifests = [draws.manifest(number) for number in range(COUNT)]
    MANIFESTS.write_text(yaml.dump_all(manifests, Dumper=Dumper, sort_keys=False, width=120))


if __name__ == "__main__":
    main()
