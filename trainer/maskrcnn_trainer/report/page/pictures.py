"""Section with the four lists of images."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import ErrorType, Evaluation, Role, ShownImage, ShownObject
from maskrcnn_trainer.report.page.layout import Nesting, Section, heading, named, note, paragraph
from maskrcnn_trainer.report.page.markup import Markup, element, is_picture, joined, shortened
from maskrcnn_trainer.report.page.numbers import fraction

ROLES: dict[Role, tuple[str, str]] = {"true": ("✓", "true"), "false": ("✗", "false"), "missed": ("◌", "missed")}
"""Sign and word of the roles that a caption lists; a found object is where its true detection is."""

LONGEST_ID = 60
ERROR_WORDS: dict[ErrorType, str] = {
    "Cls": "wrong class, the object is: ", "Loc": "badly placed", "Both": "badly placed, and the object is: ",
    "Dupe": "duplicate", "Bkg": "nothing there", "Miss": "missed",
}  # fmt: skip

AT_ONCE = 6
"""Objects below a picture; the others are in a part that opens."""

SHOWN_LISTS = (
    (
        "worst", "Worst images",
        "The images with the lowest F1. Look for what they have in common: size, light, crowding, labels.",
    ),
    (
        "confident_false", "Most confident false detections",
        "The false detections with the highest scores, each the first below its picture. If they are objects without "
        "an annotation, correct the data.",
    ),
    (
        "missed", "Largest missed objects",
        "Objects that no detection matches, the largest first; each is the first below its picture. Look for unusual "
        "views and wrong labels.",
    ),
    ("random", "Random images", "Chosen with a fixed seed, to show the usual case."),
)  # fmt: skip


def pictures(evaluation: Evaluation, place: Nesting) -> Section:
    """Return the section with the lists of images."""
    lead = paragraph(
        "Detections from the best score (", fraction(evaluation.operating_point.best_score), ") on, and the objects: ",
        _role("true"), " detections are green with a solid outline, ", _role("false"), " ones red with dashes and "
        "dots, and ", _role("missed"), " objects have a dashed outline. The list below a picture has the same numbers. "
        "F1 is that of the image; it is 1 without objects and detections.",
    )  # fmt: skip
    parts = [lead]
    shown: list[ShownImage] = [image for name, _, _ in SHOWN_LISTS for image in getattr(evaluation, name)]
    if any(not is_picture(image.picture) for image in shown):
        parts.append(note(_without_pictures(evaluation, shown)))
    for name, title, meaning in SHOWN_LISTS:
        parts += [heading(place, title), paragraph(meaning), _list(getattr(evaluation, name))]
    return Section("images", "Images", joined(parts))


def _without_pictures(evaluation: Evaluation, shown: Sequence[ShownImage]) -> str:
    all_missing = not any(is_picture(image.picture) for image in shown)
    which = "There are no pictures" if all_missing else "Some images have no picture"
    reason = evaluation.pictures_missing or "the validation records can't be read, or the page would exceed 8 MB"
    return f"{which}: {reason.rstrip('.')}."


def _list(images: Sequence[ShownImage]) -> Markup:
    if not images:
        return note("There are none.")
    return element("div", *(_image(image) for image in images), class_="pictures")


def _image(image: ShownImage) -> Markup:
    title = f"Image {shortened(str(image.image_id), LONGEST_ID)}"
    drawn = None
    if is_picture(image.picture):
        drawn = element("img", src=image.picture, alt=f"{title}: {_counts(image)}")
    listed = [found for found in image.objects if found.role in ROLES]
    lines = [_object(number, found) for number, found in enumerate(listed, start=1)]
    first, rest = element("ul", *lines[:AT_ONCE], class_="objects"), lines[AT_ONCE:]
    more = (
        element("details", element("summary", "all others"), element("ul", *rest, class_="objects")) if rest else None
    )
    caption = element("figcaption", named(title), ", F1 ", fraction(image.f1), first, more)
    return element("figure", drawn, caption)


def _counts(image: ShownImage) -> str:
    numbers = {role: sum(found.role == role for found in image.objects) for role in ROLES}
    return f"{numbers['true']} true and {numbers['false']} false detections, {numbers['missed']} missed objects"


def _object(number: int, found: ShownObject) -> Markup:
    score = f" {found.score:.2f}" if found.score is not None else ""
    error = None
    if found.error is not None:
        other = None if found.other_class is None else named(found.other_class)
        error = element("span", ": ", ERROR_WORDS[found.error], other)
    return element("li", element("b", f"{number}"), " ", _role(found.role), " ", named(found.name), score, error)


def _role(role: Role) -> Markup:
    sign, word = ROLES[role]
    return element("span", f"{sign} {word}", class_=f"role {role}")
