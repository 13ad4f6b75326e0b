"""Prototxt of TAO Toolkit: values read, values filled in, problems; nothing in it is executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import DataConfig, ExperimentSpec, MaskRCNNConfig, SpecError, read_spec
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.prototxt import OURS, message_class, parse_prototxt
from maskrcnn_trainer.spec.prototxt_lists import LIST_FIELDS, literal_list
from maskrcnn_trainer.spec.prototxt_text import blanked, occurrences


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_prototxt(text)
    return {problem.field: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("total_steps", "total_stepz", "did you mean total_steps?"),
        ("total_steps", "totalSteps", "did you mean total_steps?"),
        ("init_learning_rate", "init_learning_rat", "did you mean init_learning_rate?"),
        ("num_classes", "num_classez", "did you mean num_classes?"),
        ("data_config", "data_confg", "did you mean data_config?"),
        ("maskrcnn_config { nlayers: 10 } total_steps: 5", "maskrcnn_config { total_steps: 5 }", "at the top level"),
        ("num_classes: 3 }", "} num_classes: 3", "it belongs in data_config"),
    ],
)
def test_required_field_that_is_misspelled_or_misplaced_is_one_problem(field: str, wrong: str, message: str) -> None:
    text = (
        'init_learning_rate: 0.01 data_config { image_size: "(128, 128)" num_classes: 3 } '
        "maskrcnn_config { nlayers: 10 } total_steps: 5"
    )
    parse_prototxt(text)
    assert field in text
    (found,) = problems(text.replace(field, wrong)).values()
    assert message in found


def test_a_complete_prototxt_gives_its_values(prototxt: str) -> None:
    spec = parse_prototxt(prototxt).spec
    assert (spec.seed, spec.use_amp, spec.warmup_steps, spec.warmup_learning_rate) == (7, True, 100, 0.0005)
    assert (spec.learning_rate_steps, spec.learning_rate_decay_levels) == ((600, 800), (0.1, 0.02))
    assert (spec.num_epochs, spec.total_steps, spec.num_examples_per_epoch) == (3, None, 101)
    assert (spec.train_batch_size, spec.eval_batch_size, spec.momentum) == (4, 2, 0.8)
    assert spec.skip_checkpoint_variables == "head"
    assert spec.data_config.image_size == (128, 192)
    assert spec.data_config.val_json_file == "/workspace/data/val.json"
    model = spec.maskrcnn_config
    assert (model.nlayers, model.freeze_bn, model.freeze_blocks) == (18, False, ())
    assert model.aspect_ratios == ((1.0, 1.0), (2.0, 0.5))
    assert model.bbox_reg_weights == (10.0, 10.0, 5.0, 5.0)
    assert model.test_rpn_nms_threshold == 0.6


def test_absent_fields_are_what_the_original_took_where_zero_means_something() -> None:
    read = parse_prototxt(
        "init_learning_rate: 0.01 total_steps: 5 data_config { image_size: '(128, 128)' num_classes: 2 }"
    )
    spec, filled = read.spec, dict(read.filled)
    assert (spec.momentum, spec.l1_weight_decay, spec.l2_weight_decay) == (0, 0, 0)
    assert (spec.use_amp, spec.visualize_images_summary) == (False, False)
    assert (spec.data_config.augment_input_data, spec.data_config.skip_crowd_during_training) == (False, False)
    assert spec.maskrcnn_config.freeze_bn is False
    assert spec.maskrcnn_config.freeze_blocks == ()
    # all other values are those of the sample
    assert (spec.seed, spec.train_batch_size, spec.maskrcnn_config.rpn_positive_overlap) == (123, 2, 0.7)
    assert read.warnings == ("momentum is absent; using 0, as TAO Toolkit does (0.9 is usual)",)
    assert filled["momentum"] == 0
    assert filled["maskrcnn_config.freeze_bn"] is False
    assert filled["maskrcnn_config.aspect_ratios"] == ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
    given_fields = {"init_learning_rate", "total_steps", "data_config.image_size", "data_config.num_classes"}
    assert not given_fields & filled.keys()
    assert len(filled) > 50


def test_a_field_that_is_filled_in_is_not_given() -> None:
    spec = parse_prototxt(
        "init_learning_rate: 0.01 total_steps: 5 data_config { image_size: '(128, 128)' num_classes: 2 }"
    ).spec
    assert "image_size" in spec.data_config.model_fields_set
    assert not {"maskrcnn_config", "momentum"} & spec.model_fields_set
    assert "augment_input_data" not in spec.data_config.model_fields_set


def test_absent_field_is_distinguished_from_a_zero(prototxt: str) -> None:
    read = parse_prototxt(prototxt + "\nmomentum: 0\nl1_weight_decay: 0\nseed: 0")
    assert (read.spec.momentum, read.spec.seed) == (0, 0)
    assert not {"momentum", "l1_weight_decay", "seed"} & dict(read.filled).keys()
    assert read.warnings == (
        "seed is given more than once; the last value is used",
        "momentum is given more than once; the last value is used",
    )


def test_zero_means_the_default_where_tao_toolkit_reads_it_so(prototxt: str) -> None:
    zeros = "\nlogging_frequency: 0 total_steps: 0 checkpoint: '' data_config { n_workers: 0 shuffle_buffer_size: 0 }"
    spec = parse_prototxt(prototxt + zeros).spec
    assert (spec.logging_frequency, spec.total_steps, spec.checkpoint) == (10, None, None)
    assert (spec.data_config.n_workers, spec.data_config.shuffle_buffer_size) == (16, 4096)


@pytest.mark.parametrize("name", ["test_rpn_nms_thresh", "test_rpn_nms_threshold"])
def test_both_spellings_of_the_test_threshold(prototxt: str, name: str) -> None:
    text = prototxt.replace("test_rpn_nms_thresh: 0.6", f"{name}: 0.65")
    assert parse_prototxt(text).spec.maskrcnn_config.test_rpn_nms_threshold == 0.65
    wrong = problems(text.replace("0.65", "1.65"))
    assert wrong == {f"maskrcnn_config.{name}": "1.65 must be at most 1"}


def test_both_spellings_together_are_refused(prototxt: str) -> None:
    found = problems(
        prototxt.replace("test_rpn_nms_thresh: 0.6", "test_rpn_nms_thresh: 0.6 test_rpn_nms_threshold: 0.7")
    )
    assert found == {
        "maskrcnn_config.test_rpn_nms_threshold": "given twice, also as test_rpn_nms_thresh; remove one of them"
    }


def test_unused_fields_of_the_original_are_accepted(prototxt: str) -> None:
    text = prototxt + 'save_checkpoints_steps: 5 wandb_config { project: "p" tags: "a" tags: "b" } clearml_config { }'
    read = parse_prototxt(text)
    assert read.spec.save_checkpoints_steps == 5
    assert read.spec.wandb_config is not None
    assert read.spec.wandb_config.tags == ("a", "b")
    assert read.spec.clearml_config is not None
    assert not [name for name, _ in read.filled if name.startswith(("wandb", "clearml", "save"))]


def test_clipping_that_tao_toolkit_ignores_is_reported(prototxt: str) -> None:
    assert "gradients are clipped" in parse_prototxt(prototxt + "global_gradient_clip_ratio: 5.0").warnings[0]


def test_numbers_keep_all_their_digits(prototxt: str) -> None:
    assert parse_prototxt(prototxt.replace("0.0002", "0.0001")).spec.l2_weight_decay == 0.0001


def test_all_problems_of_a_prototxt_at_once(prototxt: str) -> None:
    text = (
        prototxt.replace("seed: 7", "seed: -7")
        .replace("use_amp: True", "use_amp: perhaps")
        .replace("momentum", "momentun")
        .replace("(128, 192)", "(128, 200)")
        .replace('arch: "resnet"', "arch: resnet")
        .replace("nlayers: 18", "nlayers: 19")
        .replace("[600, 800]", "600, eight")
        .replace("num_classes: 3", "num_classes: 3 nlayers: 5")
    )
    assert problems(text) == {
        "seed": "-7 must be a whole number from 0 to 4294967295 (line 2)",
        "use_amp": "perhaps must be True or False (line 3)",
        "momentun": "unknown field; did you mean momentum? (line 13)",
        "learning_rate_steps": '"600, eight" is not a list of whole numbers, such as "[60000, 80000]"',
        "data_config.image_size": "[128, 200]: both sides must be multiples of 64 (2^max_level, max_level is 6); the "
        "next larger size is [128, 256]",
        "data_config.nlayers": "unknown field; it belongs in maskrcnn_config (line 19)",
        "maskrcnn_config.arch": "resnet must be a string in quotes (line 24)",
        "maskrcnn_config.nlayers": "19 must be one of 10, 18, 34, 50 or 101",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('data_config { image_size: "(128', "line 1, column 27"),
        ("data_config { } }", "line 1, column 17"),
        ("seed: 1\nseed 5", "needs a colon"),
        ("data_config: 5", "must be a message of fields in braces"),
        ("{" * 5000, "line 1, column 1"),
    ],
)
def test_malformed_text_is_reported_with_its_position(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_prototxt(text)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('pathlib').Path('{path}').touch()",
        "[__import__('pathlib').Path('{path}').touch()]",
        "(lambda: open('{path}', 'w'))()",
        "[x for x in [open('{path}', 'w')]]",
    ],
)
@pytest.mark.parametrize("field", sorted(LIST_FIELDS))
def test_nothing_in_a_list_is_executed(prototxt: str, tmp_path: Path, code: str, field: str) -> None:
    proof = tmp_path / "executed"
    where = next(
        section for section in ("", "data_config", "maskrcnn_config", "augmentation") if field in _names(section)
    )
    inner = f'{field}: "{code.format(path=proof)}"'
    line = {"": inner, "augmentation": f"data_config {{ augmentation {{ {inner} }} }}"}.get(
        where, f"{where} {{ {inner} }}"
    )
    found = problems(f"{prototxt}\n{line}")
    assert any(name.endswith(field) and "is not a list of" in text for name, text in found.items())
    assert not proof.exists()


def _names(section: str) -> set[str]:
    if section == "augmentation":
        return {"scale_jitter"}
    parts: dict[str, type[SpecModel]] = {"data_config": DataConfig, "maskrcnn_config": MaskRCNNConfig}
    return set(parts.get(section, ExperimentSpec).model_fields)


@pytest.mark.parametrize(
    ("text", "number", "value"),
    [
        ("[60000, 80000]", int, [60000, 80000]),
        ("(832, 1344)", int, [832, 1344]),
        (" 832, 1344 ", int, [832, 1344]),
        ("[6e4]", int, [60000]),
        ("[1, .5]", float, [1, 0.5]),
        ("[(1.0, 1.0), [1.4, 0.7]]", float, [[1.0, 1.0], [1.4, 0.7]]),
        ("", int, None),
        ("None", int, None),
        ("[]", int, []),
    ],
)
def test_lists_in_texts(text: str, number: type, value: object) -> None:
    assert literal_list(text, number) == value


@pytest.mark.parametrize(
    "text", ["5", "'ab'", "{1: 2}", "[True]", "['a']", "[1", "[1]*9", "[" * 4000, "[1," * 9000, "[None]"]
)
def test_invalid_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        literal_list(text, int)


def test_empty_list_of_blocks_differs_from_an_absent_one(prototxt: str) -> None:
    for empty in ('""', '"None"', '"[]"'):
        text = prototxt.replace('freeze_blocks: "[]"', f"freeze_blocks: {empty}")
        assert parse_prototxt(text).spec.maskrcnn_config.freeze_blocks == ()


def test_the_message_knows_every_field_of_the_types() -> None:
    message = message_class().DESCRIPTOR
    assert {field.name for field in message.fields} == set(ExperimentSpec.model_fields) - {"class_mapping"}
    model = message.fields_by_name["maskrcnn_config"].message_type
    assert {field.name for field in model.fields} == {*MaskRCNNConfig.model_fields, "test_rpn_nms_thresh"}
    assert all(field.has_presence for field in model.fields)


def test_fields_that_tao_toolkit_lacks_are_read_and_absent_ones_stay_absent(prototxt: str) -> None:
    names = ("person", "N/A", "bicycle")
    lines = "\n".join(f'checkpoint_class_names: "{name}"' for name in names)
    read = parse_prototxt(
        prototxt.replace("maskrcnn_config <", "maskrcnn_config < anchor_offset: 0 roi_aligned: False ")
        + f'checkpoint_style: "torchvision" checkpoint_bn_epsilon: 0\n{lines}'
    )
    assert read.spec.checkpoint_class_names == names
    assert (read.spec.checkpoint_style, read.spec.checkpoint_bn_epsilon) == ("torchvision", 0.0)
    config = read.spec.maskrcnn_config
    assert (config.anchor_offset, config.roi_aligned, config.roi_sampling_ratio) == (0.0, False, None)
    assert {"anchor_offset", "roi_aligned"} < config.model_fields_set
    assert not {"num_scales", "roi_sampling_ratio", "test_score_threshold"} & config.model_fields_set
    assert not [name for name, _ in read.filled if name.split(".")[-1] in OURS]
    assert read.warnings == ()


@pytest.mark.parametrize("value", [': "person"', ' { key: "person" value: "p" }', ' { person: "p" }'])
def test_mapping_in_a_prototxt_is_refused_with_what_to_do(prototxt: str, value: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_prototxt(f"{prototxt}class_mapping{value}")
    (problem,) = caught.value.problems
    assert problem.field == "class_mapping"
    assert "cannot be given in a prototxt; give it in YAML" in problem.message


def test_positions_of_fields_are_found() -> None:
    text = "a: 1 # b: 2\nc { d: 'x}' e < f: -3 > }\ng: [1, 2]"
    found = {".".join(item.path): text[item.start : item.end] for item in occurrences(text)}
    assert found == {
        "a": "a: 1",
        "c": "c { d: 'x}' e < f: -3 > }",
        "c.d": "d: 'x}'",
        "c.e": "e < f: -3 >",
        "c.e.f": "f: -3",
        "g": "g: [1, 2]",
    }
    field = next(item for item in occurrences(text) if item.path == ("c",))
    assert blanked(text, field.start, field.end) == "a: 1 # b: 2\n" + " " * 25 + "\ng: [1, 2]"


def _written(spec: SpecModel) -> str:
    """Return a spec as protobuf text of TAO Toolkit."""
    lines = []
    for name in type(spec).model_fields:
        value: Any = getattr(spec, name)
        if value is None or name in OURS:
            continue
        if isinstance(value, SpecModel):
            lines.append(f"{name} {{\n{_written(value)}\n}}")
        elif isinstance(value, tuple):
            lines.append(f'{name}: "{value if name == "image_size" else [*value]}"')
        elif isinstance(value, str):
            lines.append(f'{name}: "{value}"')
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _data(**fields: Any) -> DataConfig:
    return DataConfig(**fields)


def _model(**fields: Any) -> MaskRCNNConfig:
    return MaskRCNNConfig(**fields)


FRACTION = st.floats(0.01, 1)
STEPS = st.lists(st.integers(1, 10**6), max_size=4, unique=True).map(lambda steps: tuple(sorted(steps)))
SPECS = st.builds(
    lambda steps, data, **rest: ExperimentSpec(
        learning_rate_steps=steps, learning_rate_decay_levels=(0.1,) * len(steps), data_config=data, **rest
    ),
    steps=STEPS,
    data=st.builds(
        _data,
        image_size=st.tuples(st.integers(2, 128), st.integers(2, 128)).map(lambda size: (size[0] * 64, size[1] * 64)),
        num_classes=st.integers(2, 91),
        augment_input_data=st.booleans(),
        skip_crowd_during_training=st.booleans(),
        training_file_pattern=st.just("/workspace/a*,b"),
    ),
    init_learning_rate=FRACTION,
    num_epochs=st.integers(1, 99),
    momentum=st.floats(0, 0.99),
    use_amp=st.booleans(),
    maskrcnn_config=st.builds(
        _model,
        nlayers=st.sampled_from([10, 18, 34, 50, 101]),
        freeze_bn=st.booleans(),
        freeze_blocks=st.lists(st.integers(0, 4), unique=True).map(tuple),
        bbox_reg_weights=st.tuples(FRACTION, FRACTION, FRACTION, FRACTION),
        aspect_ratios=st.lists(st.tuples(FRACTION, FRACTION), min_size=1, max_size=3).map(tuple),
        test_rpn_nms_threshold=FRACTION,
    ),
)


@given(SPECS)
def test_a_spec_written_as_prototxt_is_read_back_the_same(spec: ExperimentSpec) -> None:
    assert parse_prototxt(_written(spec)).spec == spec


def _closings(text: str) -> list[int]:
    return [at for at, mark in enumerate(text) if mark in "}>"]


@settings(deadline=None)
@given(SPECS, st.data())
def test_one_missing_brace_is_one_problem_that_names_what_is_not_closed(
    spec: ExperimentSpec, data: st.DataObject
) -> None:
    text = _written(spec) + "\nclearml_config {\n project: 'p'\n}\nwandb_config <\n tags: 'a'\n>\n"
    at = data.draw(st.sampled_from(_closings(text)))
    with pytest.raises(SpecError) as caught:
        parse_prototxt(text[:at] + text[at + 1 :])
    (problem,) = caught.value.problems
    name = problem.field.split(".")[-1]
    assert "is not closed" in problem.message
    opened = next(number for number, line in enumerate(text.split("\n"), 1) if line.startswith(name))
    assert problem.message.endswith(f"(line {opened})")


@settings(deadline=None)
@given(SPECS, st.data())
def test_error_in_truncated_text_is_not_about_earlier_values(spec: ExperimentSpec, data: st.DataObject) -> None:
    whole = _written(spec)
    at = data.draw(st.integers(len("seed: 1"), len(whole) - 1))
    text = whole[:at]
    try:
        parse_prototxt(text)
    except SpecError as error:
        if any(words in str(error) for words in ("is not closed", "has no value", "no closing quote")):
            assert len(error.problems) == 1
            assert re.search(r"line \d+", error.problems[0].message)
        else:
            last = occurrences(text)[-1].path
            absent = ("is required", "one of total_steps and num_epochs", "need the same length")
            assert all(
                problem.path == last or any(words in problem.message for words in absent) for problem in error.problems
            )


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("momentum: 0,9", "momentum: 0,9 must be a number with a decimal point: 0.9 (line 2)"),
        ("seed: - 1", "seed: - 1 must be a whole number from 0 to 4294967295 (line 2)"),
        ("seed = 123", "seed: has = instead of a colon (line 2)"),
        ("seed:", "seed: has no value (line 2)"),
        ("seed: 1 2", "seed: 1 2 must be a whole number from 0 to 4294967295 (line 2)"),
        ("use_amp: yes please", "use_amp: yes please must be True or False (line 2)"),
        ('checkpoint: "\\377"', 'checkpoint: "\\377" is not UTF-8 after its escape sequences are decoded (line 2)'),
        ('checkpoint: "a', "line 2, column 13: the string that starts here has no closing quote"),
        ("learning_rate_steps: (1, 2)", "learning_rate_steps: (1, 2) must be a list in quotes, such as "),
        ("seed { }", "seed: must be a single value, not a message in { (line 2)"),
        ("maskrcnn_config = { }", "maskrcnn_config: has = before {; remove the = (line 2)"),
        ("maskrcnn_config { nlayers 50 }", "maskrcnn_config.nlayers: needs a colon between name and value (line 2)"),
        ("maskrcnn_config\n nlayers: 50 }", "maskrcnn_config: must be followed by an opening { (line 2)"),
        ("}", "line 2, column 1: unmatched }; remove it, or add the missing opening brace"),
    ],
)
def test_a_malformed_field_is_the_only_one_blamed(prototxt: str, wrong: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_prototxt(f"# spec\n{wrong}\n{prototxt}", "spec.txt")
    assert str(caught.value).startswith(f"spec.txt: {problem}")


def test_fields_are_in_snake_case_where_the_text_cannot_be_read_on(prototxt: str) -> None:
    found = problems(
        prototxt.replace("nlayers: 18", "nlayers 18 @ rpn_positive_overlapp: 0.5").replace("seed: 7", "seed: %")
    )
    assert found == {"seed": "has % instead of a value (line 2)"}
    assert "maskrcnn_config" in problems(prototxt.removesuffix(">\n"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_prototxt_is_read_or_refused_but_never_a_traceback(prototxt: str, data: st.DataObject) -> None:
    text = prototxt
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 30))
        piece = data.draw(st.text(max_size=3) | st.sampled_from(list("{}<>[]:\"'#,;\n\\")))
        text = text[:at] + piece + text[at + length :]
    try:
        spec = read_spec(text).spec
    except InvalidInput as error:
        assert str(error)
    else:
        assert spec.data_config.num_classes >= 2


@pytest.mark.parametrize(
    "text", ["data_config {\n" * 5000, "data_config {\n" * 5000 + "}" * 5000, "data_config <\n" * 33]
)
def test_messages_nested_too_deep_are_one_sentence_with_the_line(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_prototxt(text, "spec.txt")
    closing = ">" if "<" in text else "}"
    assert str(refused.value) == (
        f"spec.txt: line 33, column 1: messages are nested more than 32 levels deep; probably the {closing} of "
        "data_config in line 1, or of a message in it, is missing"
    )


def test_of_many_messages_without_a_brace_some_are_named() -> None:
    with pytest.raises(SpecError) as refused:
        parse_prototxt("maskrcnn_config {\n" * 5)
    (problem,) = refused.value.problems
    assert "opened in line 4; 1 more is open: 5 closing braces are missing" in problem.message


@pytest.mark.parametrize(
    ("text", "said"),
    [("total_steps: " + "9" * 5000, "total_steps: " + "9" * 80 + "... must be a whole"), ("\0", "found '\\x00'")],
)
def test_value_in_a_message_is_short_and_printable(text: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_prototxt(text)
    assert said in str(refused.value)
    assert str(refused.value).replace("\n", "").isprintable()
