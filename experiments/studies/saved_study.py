"""The study that a folder holds, kept so that a changed YAML does not silently mix two studies."""

import json
from pathlib import Path
from typing import Any

import yaml

from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.studies.published import STUDY_FILE, read_saved
from encoder_ablations.experiments.studies.saved_rule import note_raised
from encoder_ablations.experiments.studies.study import Entry, StudySpec, load_own_recipe
from encoder_ablations.experiments.zero_labels.queries import load_with_vocabulary
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import differences
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

SHOWN = 5


def resolve_study(study: StudySpec) -> StudySpec:
    """Return the study with every name and path replaced by its content: the same runs anywhere."""
    segmenters = [load_with_vocabulary(entry).model_dump(mode="json") for entry in study.segmenters]
    datasets = [load_dataset(entry).model_dump(mode="json") for entry in study.datasets]
    encoders = [_resolved_encoder(study, entry) for entry in study.encoders]
    return study.model_copy(
        update={"encoders": encoders, "segmenters": segmenters, "datasets": datasets}
    )


def _resolved_encoder(study: StudySpec, entry: Entry) -> dict[str, Any]:
    """Return an entry of ``encoders`` with its content, and the recipe of its own if it has one."""
    encoder, _ = load_own_recipe(study, entry)
    content = encoder.model_dump(mode="json")
    if isinstance(entry, dict) and "recipe" in entry:
        content["recipe"] = entry["recipe"]
    return content


def study_file(folder: Path) -> Path:
    """Return where the study of an output folder is kept."""
    return folder / STUDY_FILE


def read_study(folder: Path) -> StudySpec:
    """Return the study that ``folder`` was made from.

    Raises:
        InputError: its file is missing, damaged, or of a version with other settings.
    """
    return read_saved(StudySpec, folder)


def check_same_study(study: StudySpec, folder: Path) -> None:
    """Refuse to mix a study with another version of it that has runs in ``folder``.

    Raises:
        InputError: what changed, and what can be done.
    """
    if not study_file(folder).exists() or not any((folder / "runs").glob("*/*")):
        return
    changes = study_changes(read_study(folder), resolve_study(study))
    more = ""
    if len(changes) > SHOWN:
        more = f" (and {len(changes) - SHOWN} more)"
    if changes:
        raise InputError(
            f"{folder} holds another version of this study. "
            f"Changed: {'; '.join(changes[:SHOWN])}{more}. "
            "Add --extend to go on there with the new version beside the runs it has, or give it a "
            "new name (name=…) or another folder (--output)."
        )


def save_study(study: StudySpec, folder: Path) -> None:
    """Write ``folder/study.yaml``, which ``ablate run`` understands."""
    note_raised(study.seeds, folder)
    content = resolve_study(study).model_dump(mode="json")
    write_text(study_file(folder), yaml.safe_dump(content, sort_keys=False))


def study_changes(before: StudySpec, after: StudySpec) -> list[str]:
    """Return what differs between two studies, apart from names, published scores and order."""
    return differences(_comparable(resolve_study(before)), _comparable(after))


def _comparable(study: StudySpec) -> dict[str, Any]:
    """Return a resolved study in a form that does not depend on the order of its lists."""
    content = study.model_dump(mode="json", exclude={"name", "published"})
    titles = [load_own_recipe(study, entry)[0].title for entry in study.encoders]
    content["encoders"] = dict(zip(titles, content["encoders"], strict=True))
    heads = [SegmenterSpec.model_validate(entry).title for entry in content["segmenters"]]
    content["segmenters"] = dict(zip(heads, content["segmenters"], strict=True))
    content["datasets"] = {entry["name"]: entry for entry in content["datasets"]}
    content["fractions"] = sorted(content["fractions"])
    if not isinstance(content["seeds"], dict):
        content["seeds"] = sorted(content["seeds"])
    content["federation"] = sorted(content.get("federation", [None]), key=json.dumps)
    for kind in ("include", "exclude"):
        content[kind] = list(map(_as_written, content[kind]))
    return content


def _as_written(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a filter as a person writes it.

    It holds only what it asks for, and one value without brackets.
    """
    asked = {}
    for key, values in wanted.items():
        if values is not None:
            asked[key] = values
        if values is not None and len(values) == 1:
            asked[key] = values[0]
    return asked
