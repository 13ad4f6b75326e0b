"""CEL rules of the resource, by type and by field.

The API server checks them. The types and the trainer's rules check the same in Python.
"""

from __future__ import annotations

from collections.abc import Mapping

from maskrcnn_operator.api.base import (
    EXPERIMENT_NAME_LENGTH,
    EXPERIMENT_NAME_PATTERN,
    PATH_OR_URL,
    PATH_OR_URL_PATTERN,
    STEP_NAME_PATTERN,
)
from maskrcnn_operator.api.cel import CelRule, quoted, unchanged
from maskrcnn_operator.api.pod import ONE_CACHE
from maskrcnn_operator.api.reserved import RESERVED_PREFIXES, Field, ReservedKey, allowed, refused, rule_in_words
from maskrcnn_operator.api.step_rules import SPEC_RULES, STEP_RULES
from maskrcnn_operator.api.workspace import ONE_WORKSPACE, RELATIVE_SUB_PATH, SUB_PATH_OF_A_CLAIM
from maskrcnn_trainer.shared.object_url import LONGEST_WORKSPACE_URL, URL_PATTERN
from maskrcnn_trainer.spec.maskrcnn_config import MaskRCNNConfig

_SUSPENDED = (
    "(oldSelf.spec.suspend && has(self.status) && has(self.status.conditions) && "
    "self.status.conditions.exists(c, c.type == 'Suspended' && c.status == 'True'))"
)
_NEVER_STARTED = (
    "(!has(self.status) || !has(self.status.steps) || self.status.steps.all(s, s.?attempt.orValue(0) == 0))"
)


_SAME_WORKSPACE = " && ".join(
    # only these fields name the workspace: the others of objectStorage can change at any time
    unchanged(f"workspace.{part}", optional=True, compared=text)
    for part, text in (("persistentVolumeClaim", ".claimName"), ("objectStorage", ".url"), ("subPath", ""))
)


def _only_when_nothing_runs(field: str, same: str, *, but: str = "") -> CelRule:
    """Return the rule that a field changes only when nothing runs; ``same`` is CEL that is true without a change."""
    return CelRule(
        f"({same}) || {_NEVER_STARTED} || {_SUSPENDED}",
        f"spec.{field} can change until the first attempt of a step has started, or while the condition Suspended is "
        f"True: set spec.suspend to true and wait for it before{but}",
        field=f".spec.{field}",
        kind="FieldValueForbidden",
    )


def _reserved(field: Field) -> tuple[CelRule, ...]:
    """Return the rules of :mod:`maskrcnn_operator.api.reserved` for labels or annotations."""
    own = refused(field)
    taken = " || ".join(f"key.startsWith({quoted(prefix)})" for prefix in RESERVED_PREFIXES)
    free = " || ".join(map(_is_key, (*allowed(field), *own)))
    by_reason: dict[str, list[ReservedKey]] = {}
    for row in own:
        by_reason.setdefault(row.why, []).append(row)
    return (
        CelRule(f"self.all(key, !({taken}) || {free})", rule_in_words(field)),
        *(
            CelRule(
                " && ".join(f"!({quoted(row.key)} in self)" for row in rows),
                f"{', '.join(row.key for row in rows)}: {why}",
            )
            for why, rows in by_reason.items()
        ),
    )


def _is_key(row: ReservedKey) -> str:
    return f"key.startsWith({quoted(row.key)})" if row.is_prefix else f"key == {quoted(row.key)}"


def _at_most(low: str, high: str) -> CelRule:
    defaults = {field.alias: field.default for field in MaskRCNNConfig.model_fields.values()}
    return CelRule(
        # the API server fills in no defaults here
        f"self.?{low}.orValue({defaults[low]}) <= self.?{high}.orValue({defaults[high]})",
        f"{low} must be at most {high}",
        field=f".{low}",
    )


def _at_most_where_both_are_given(low: str, high: str) -> CelRule:
    return CelRule(
        f"!has(self.{low}) || !has(self.{high}) || self.{low} <= self.{high}",
        f"{low} must be at most {high}",
        field=f".{low}",
    )


_ABSOLUTE = CelRule(f"self == '' || self.matches({quoted(PATH_OR_URL_PATTERN)})", PATH_OR_URL)
_ABSOLUTE_EACH = CelRule(
    # short, because the API server's estimate of the cost grows with it; Python checks the scheme
    r"self.matches('^(\\s*((/|\\w+://)[^,]*)?(,|$))*$')",
    "must be an absolute path or pattern, such as /workspace/..., or a URL, such as s3://BUCKET/KEY; of several, "
    "separated by commas, each",
)
_KEY_LENGTH = CelRule("self.all(key, key.size() >= 1 && key.size() <= 317)", "a key must have 1 to 317 characters")
_FIVE_LEVELS = "self.?maskrcnnConfig.?maxLevel.orValue(6) == 5"
_SIDES = "self.dataConfig.imageSize"
_THRESHOLDS = (("rpnNegativeOverlap", "rpnPositiveOverlap"), ("bgThreshLo", "bgThreshHi"), ("bgThreshHi", "fgThresh"))
_LEVELS = ("roiMaxLevel", "maxLevel")  # the default of maxLevel is the largest value of roiMaxLevel

PATTERN_RULES: Mapping[str, CelRule] = {
    PATH_OR_URL_PATTERN: CelRule(f"self.matches({quoted(PATH_OR_URL_PATTERN)})", PATH_OR_URL),
    STEP_NAME_PATTERN: CelRule(
        f"self.matches({quoted(STEP_NAME_PATTERN)})",
        "the name of a step must be a DNS label: lowercase letters, digits, and -, a letter or digit first and last",
    ),
}
"""Rules that replace the patterns of fields, because the error of a pattern does not name what would be right."""

TYPE_RULES: Mapping[str, tuple[CelRule, ...]] = {
    "MaskRCNNExperiment": (
        CelRule(
            f"self.metadata.name.size() <= {EXPERIMENT_NAME_LENGTH} && "
            f"self.metadata.name.matches({quoted(EXPERIMENT_NAME_PATTERN)})",
            f"metadata.name must be a DNS label that starts with a letter (lowercase letters, digits, and -), at most "
            f"{EXPERIMENT_NAME_LENGTH} characters",
            field=".metadata.name",
        ),
        _only_when_nothing_runs(
            "workspace", _SAME_WORKSPACE, but="; takeOverFrom and scratch of objectStorage can change at any time"
        ),
        _only_when_nothing_runs("encryptionKeySecretRef", unchanged("encryptionKeySecretRef", optional=True)),
        _only_when_nothing_runs("queueName", unchanged("queueName")),
    ),
    "ExperimentBody": SPEC_RULES,
    "Step": STEP_RULES,
    "ExperimentSpec": (
        CelRule(
            "self.?learningRateSteps.orValue([]).size() == self.?learningRateDecayLevels.orValue([]).size()",
            "learningRateSteps and learningRateDecayLevels need the same length",
            field=".learningRateDecayLevels",
        ),
        CelRule(
            "self.?totalSteps.orValue(0) > 0 || self.?numEpochs.orValue(0) > 0",
            "one of totalSteps and numEpochs is required, at least 1",
            field=".totalSteps",
            kind="FieldValueRequired",
        ),
        CelRule(
            f"{_FIVE_LEVELS} ? {_SIDES}.all(side, side % 32 == 0) : {_SIDES}.all(side, side % 64 == 0)",
            "imageSize: both sides must be multiples of 2^maxLevel",
            message_expression=f"'imageSize: both sides must be multiples of ' + ({_FIVE_LEVELS} ? '32' : '64') + "
            "' (2^maxLevel)'",
            field=".dataConfig.imageSize",
        ),
    ),
    "ObjectStore": (
        CelRule(
            "self.?allowHttp.orValue(false) || !self.?endpoint.orValue('').startsWith('http://')",
            "an endpoint that begins with http:// needs allowHttp: true",
            field=".endpoint",
        ),
    ),
    "InputCache": (CelRule("has(self.sizeLimit) != has(self.persistentVolumeClaim)", ONE_CACHE),),
    "Workspace": (
        CelRule("has(self.persistentVolumeClaim) != has(self.objectStorage)", ONE_WORKSPACE),
        CelRule("!has(self.objectStorage) || self.?subPath.orValue('') == ''", SUB_PATH_OF_A_CLAIM, field=".subPath"),
    ),
    "MaskRCNNConfig": (*(_at_most(*pair) for pair in _THRESHOLDS), _at_most_where_both_are_given(*_LEVELS)),
    "PartialMaskRCNNConfig": tuple(_at_most_where_both_are_given(*pair) for pair in (*_THRESHOLDS, _LEVELS)),
}
"""Rules between the fields of a type."""

FIELD_RULES: Mapping[tuple[str, str], tuple[CelRule, ...]] = {
    ("ExperimentSpec", "learningRateSteps"): (
        CelRule(
            "self.all(i, step, i == 0 || self[i - 1] < step)",
            "learningRateSteps must be in increasing order, without duplicates",
        ),
    ),
    ("ExperimentSpec", "checkpoint"): (_ABSOLUTE,),
    ("ExperimentSpec", "checkpointConfig"): (_ABSOLUTE,),
    ("ExperimentSpec", "prunedModelPath"): (_ABSOLUTE,),
    ("DataConfig", "valJsonFile"): (_ABSOLUTE,),
    ("DataConfig", "trainingFilePattern"): (_ABSOLUTE_EACH,),
    ("DataConfig", "validationFilePattern"): (_ABSOLUTE_EACH,),
    ("ObjectStore", "prefix"): (
        CelRule(
            "self.matches('^(s3|gs|az)://[^/?#@]+(/[^/?#]+)*$')",
            "prefix must be a URL of whole segments, such as s3://BUCKET or s3://BUCKET/PATH, without a slash at the "
            "end, a query, and user info",
        ),
    ),
    ("ObjectStore", "endpoint"): (
        CelRule(
            "self.matches('^https?://[^/?#@]+(/[^?#@]*)?$')",
            "endpoint must be https://HOST or https://HOST:PORT, without user info, query, and fragment",
        ),
    ),
    ("Augmentation", "scaleJitter"): (
        CelRule("self[0] <= self[1]", "scaleJitter must be [min, max], the smaller number first"),
    ),
    ("MaskRCNNConfig", "mrcnnResolution"): (
        CelRule(
            "self % 4 == 0",
            "mrcnnResolution must be a multiple of 4, such as 28",
        ),
    ),
    ("MaskRCNNConfig", "freezeBlocks"): (
        CelRule(
            "self.all(block, self.exists_one(other, other == block))",
            "freezeBlocks must not have duplicates",
        ),
    ),
    ("MaskRCNNConfig", "includeMask"): (CelRule("self", "includeMask must be true: every model has a mask head"),),
    ("Workspace", "subPath"): (
        CelRule(
            "!self.startsWith('/') && !('..' in self.split('/'))",
            "subPath must be a relative path inside the volume, without '..'",
        ),
        CelRule(f"!self.matches({quoted(f'^({URL_PATTERN})')})", RELATIVE_SUB_PATH),
    ),
    ("ObjectStorageWorkspace", "url"): (
        CelRule(
            r"self.matches('^(s3|gs|az)://[A-Za-z0-9$][A-Za-z0-9._-]{0,254}(/[^/?#*,\\[\\]]+)*$')",
            "url must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or az://CONTAINER/PREFIX, without a slash at the "
            "end, a query, user info, and the characters * , [ ]",
        ),
        CelRule("!self.matches('/[.][.]?(/|$)')", "url must not have . and .. as segments"),
        CelRule(
            r"!self.endsWith(' ') && !self.replace(' ', '').matches('[\\p{Cc}\\p{Cf}\\p{Co}\\p{Z}]')",
            "url must not have control characters, other invisible characters, and a blank at the end",
        ),
        CelRule(
            f"bytes(self).size() <= {LONGEST_WORKSPACE_URL}",
            f"url must have at most {LONGEST_WORKSPACE_URL} bytes, which leaves room for the keys of results below it",
        ),
    ),
    ("ObjectStorageWorkspace", "takeOverFrom"): (
        CelRule(
            "self.matches('^.+/[1-9][0-9]{0,17}$')",
            "takeOverFrom must be ID/EPOCH, as the message of a refused step names it, such as my-cluster/3",
        ),
    ),
    ("ResourceRequirements", "requests"): (_KEY_LENGTH,),
    ("ResourceRequirements", "limits"): (_KEY_LENGTH,),
    ("EnvVar", "name"): (
        CelRule("!self.startsWith('MASKRCNN_')", "names that begin with MASKRCNN_ are reserved for the operator"),
    ),
    ("PodOverrides", "nodeSelector"): (_KEY_LENGTH,),
    ("PodOverrides", "labels"): (*_reserved("labels"), _KEY_LENGTH),
    ("PodOverrides", "annotations"): (*_reserved("annotations"), _KEY_LENGTH),
}
"""Rules of single fields; they also apply to a step's experiment, which has the same fields."""


def rules_of(type_name: str, field: str | None = None) -> tuple[CelRule, ...]:
    """Return the rules of a type, or those of one of its fields by camelCase name."""
    if field is None:
        return TYPE_RULES.get(type_name, ())
    return FIELD_RULES.get((type_name.removeprefix("Partial"), field), ())
