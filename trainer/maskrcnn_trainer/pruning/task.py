"""The prune task: from a trained model file to one with fewer filters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.pruning.apply import apply, choose_filters, parameter_count
from maskrcnn_trainer.pruning.flops import network_flops
from maskrcnn_trainer.pruning.groups import connectivity
from maskrcnn_trainer.pruning.retain import PruneSettings
from maskrcnn_trainer.pruning.table import Cost, cost_lines, pruning_table
from maskrcnn_trainer.results.facts import ModelFacts
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.cpus import task_threads
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failures import explained_failures
from maskrcnn_trainer.task.reporter import task_report
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pruning:
    """Result of pruning a model.

    Attributes:
        model: the pruned model.
        before: cost of the given network.
        after: cost of the pruned network.
        lines: table of layers, for the log.
    """

    model: ModelFile
    before: Cost
    after: Cost
    lines: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Parameters of the pruned model divided by those of the given one, 0..1."""
        return self.after.parameters / self.before.parameters


def prune_model(model: ModelFile, settings: PruneSettings) -> Pruning:
    """Prune a model; one that was pruned before is pruned further.

    Raises:
        InvalidInput: no filter of a layer would be kept, the model does not have an excluded layer, or it is damaged.
    """
    network = network_of(model)
    connected = connectivity([network.feature_extractor, network.box_head, network.mask_head])
    retained = choose_filters(model.variables, connected, settings)
    pruned = apply(model, connected, retained)
    # Building the network compares all shapes, which ensures that the file can be opened.
    narrower = network_of(pruned)
    return Pruning(
        pruned,
        _cost(model, network),
        _cost(pruned, narrower),
        tuple(pruning_table(network.layers, connected, retained)),
    )


def prune_task(
    *,
    model_path: Path,
    output: Path,
    settings: PruneSettings,
    key: str | None,
    environment: TaskEnvironment,
    token: str | None,
) -> None:
    """Run the task: write ``output``, and report the ratio, the number of parameters, and the file's size.

    Args:
        model_path: of the trained model.
        output: file to write.
        settings: of pruning.
        key: encryption key; None for a model that isn't encrypted.
        environment: of the task.
        token: ownership token of the output's directory; None if it is not checked.

    Raises:
        SystemExit: the task failed; the exit code states whether it may be retried.
    """
    guard = ownership_guard(output.parent, token)
    threads = task_threads()
    with (
        StopRequest() as stop,
        task_report(
            TaskName.PRUNE,
            output.parent,
            environment,
            started="Starting Mask R-CNN pruning.",
            threads=threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
    ):
        pruning = _prune(model_path, key, settings, threads)
        stop.check()
        reporter.accepted()
        remove_leftovers(output.parent, outputs=[output])
        write_model_file(output, pruning.model, key, before_rename=guard)
        log.info(
            "Wrote %s. Retrain it before it is used: set prunedModelPath in the spec of train (pruned_model_path in a "
            "prototxt) to it",
            output,
        )
        reporter.succeeded(
            "Pruning finished successfully.",
            metrics={
                "pruning_ratio": pruning.ratio,
                "param_count": pruning.after.parameters,
                "size": output.stat().st_size,
                "flops": pruning.after.flops,
                "flops_ratio": pruning.after.flops / pruning.before.flops,
            },
            artifacts={"model": output},
            model_path=output,
            facts=ModelFacts(pruning.after.parameters).to_json(),
        )


def dry_run(*, model_path: Path, settings: PruneSettings, key: str | None) -> None:
    """Log what pruning would do, and write nothing (``maskrcnn prune --dry-run``).

    Args:
        model_path: of the trained model.
        settings: of pruning.
        key: encryption key; None for a model that isn't encrypted.
    """
    with explained_failures():
        _prune(model_path, key, settings, task_threads())
    log.info("Nothing was written (--dry-run)")


def _prune(model_path: Path, key: str | None, settings: PruneSettings, threads: int) -> Pruning:
    model = read_model_file(model_path, key, with_optimizer=False)
    if model.architecture.get("filters"):
        log.info("%s is already pruned and is pruned further; ratios are relative to the given model", model_path)
    prepare_tensorflow(threads=threads)
    pruning = prune_model(model, settings)
    for line in (*pruning.lines, *cost_lines(pruning.before, pruning.after)):
        log.info("%s", line)
    if settings.normalizer == "max" and settings.threshold >= 1:
        log.warning(
            "--pruning-threshold %g: with --normalizer max no filter is above 1, so every layer keeps only "
            "--min-num-filters %d; set a threshold below 1 to choose_filters by weight",
            settings.threshold,
            settings.min_num_filters,
        )
    if pruning.ratio == 1.0:
        log.warning(
            "No filter was removed: in every layer the number of filters above --pruning-threshold %g, rounded up to "
            "--pruning-granularity %d, includes all filters; raise the threshold",
            settings.threshold,
            settings.granularity,
        )
    return pruning


def _cost(model: ModelFile, network: MaskRCNN) -> Cost:
    spec = parse_spec(dict(model.experiment), source=f"{model.source or 'the model file'}: its experiment")
    flops = network_flops(
        network,
        spec.data_config.image_size,
        proposals=spec.maskrcnn_config.test_rpn_post_nms_topn,
        detections=spec.maskrcnn_config.test_detections_per_image,
    )
    return Cost(parameter_count(model.variables), flops)
