"""Which code of a user's own a run uses, and the check that compared runs used the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from encoder_ablations.experiments.runs.fingerprint import seen_by_runs
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.registry import losses_of
from encoder_ablations.utils.custom_code.loading import code_digest
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError

Code = Mapping[str, str]
"""``package.module:name`` -> SHA-256 of the module's file."""


def code_of(spec: RunSpec) -> dict[str, str]:
    """Return the user's own code that a run uses: its encoder, head, losses and transforms.

    Raises:
        InputError: a module cannot be imported.
    """
    names = [spec.encoder.name, spec.segmenter.name, *spec.recipe.augmentation.custom]
    names += losses_of(spec.segmenter)
    return {name: code_digest(name) for name in names if is_reference(name)}


def refuse_other_code(spec: RunSpec, folders: Iterable[Path]) -> None:
    """Check that runs which have learnt something used the code that is there now.

    Args:
        spec: the run that will be computed.
        folders: of the runs that it goes on from, or will be compared with.

    Raises:
        InputError: one of them used another version of a module's file.
    """
    code = code_of(spec)
    if not code:
        return
    for name, seen in seen_by_runs(folders):
        for reference in changed(code, seen.code):
            raise InputError(
                f"the code of {reference} has changed since the run {name}: the file of its module "
                "is another. Scores of both cannot be compared. Restore the file, or choose "
                "another --output, or delete the folders of the old runs."
            )


def changed(now: Code, before: Code) -> list[str]:
    """Return the references whose module's file is another than before."""
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def changed_code(codes: Iterable[Code]) -> list[str]:
    """Return a line for every reference whose module's file was not the same in all runs."""
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for code in codes:
        for name, digest in code.items():
            versions[name].add(digest)
    return [
        f"the code of {name} changed between its runs: there are {len(digests)} versions. Scores "
        "of different versions cannot be compared."
        for name, digests in versions.items()
        if len(digests) > 1
    ]
