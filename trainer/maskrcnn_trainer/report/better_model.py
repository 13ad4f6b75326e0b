"""Other model of an experiment that is better than the one that a page is about."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import BetterModel, Evaluation, ModelRow

SMALLEST_AP_GAIN = 1.0
"""Points of AP below which a difference isn't worth another model."""


def better_model(rows: Sequence[ModelRow], evaluation: Evaluation) -> BetterModel | None:
    """Return the model with the highest AP, if that is at least 1 point above the AP of the evaluation.

    Masks are compared where they count, boxes otherwise. Models without that AP are left out.

    Args:
        rows: models of the experiment.
        evaluation: of the model that the page is about.
    """
    key = "mask_AP" if evaluation.kind == "segm" else "AP"
    own = evaluation.metrics.get(key, -1.0)
    others = [row for row in rows if not _is_shown(row, evaluation) and key in row.metrics]
    best = max(others, key=lambda row: row.metrics[key], default=None)
    if own < 0 or best is None:
        return None
    gain = 100 * (best.metrics[key] - own)
    # One point exactly may be a little less in floating point.
    if round(gain, 6) < SMALLEST_AP_GAIN:
        return None
    shown_kind = next((row.kind for row in rows if _is_shown(row, evaluation)), "")
    return BetterModel(best.step, best.path, best.metrics[key], gain, shown_kind)


def _is_shown(row: ModelRow, evaluation: Evaluation) -> bool:
    return row.path == evaluation.model or row.evaluation == evaluation.step
