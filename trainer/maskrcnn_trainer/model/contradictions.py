"""Error for a spec that contradicts a model file, with how to follow the file."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.errors import InvalidInput


def refuse_contradictions(source: str, contradictions: Sequence[str]) -> None:
    """Refuse a spec that contradicts a model file.

    The CustomResourceDefinition of release 0.1.0 stored the default of each absent field in the object. Later ones
    store none, but a stored value counts as given, and ``kubectl apply`` of a manifest without the field keeps it.

    Args:
        source: the model file as the message names it, such as its path.
        contradictions: from ``contradictions`` of `model.architecture` or `detector.metadata`; each begins with the
            field as in YAML and a colon.

    Raises:
        InvalidInput: there are contradictions.
    """
    if not contradictions:
        return
    fields = [text.partition(":")[0] for text in contradictions]
    required = [field for field in fields if field.startswith("dataConfig.")]
    optional = [field for field in fields if field not in required]
    advice = []
    if required:
        advice.append(f"set {_listed(required)} as in the file")
    if optional:
        advice.append(
            f"remove {_listed(optional)} from the spec, with kubectl edit where release 0.1.0 has stored defaults in a "
            "MaskRCNNExperiment"
        )
    raise InvalidInput(
        f"{source} does not match the spec: {'; '.join(contradictions)}. To follow the file, {', and '.join(advice)}"
    )


def _listed(fields: Sequence[str]) -> str:
    *before, last = fields
    return f"{', '.join(before)} and {last}" if before else last
