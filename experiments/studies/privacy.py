"""The axis ``privacy`` of a study: one recipe for each entry."""

from collections.abc import Sequence
from typing import Literal

from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

Privacy = Literal["none"] | PrivacySpec
"""An entry of the list ``privacy``."""


def recipes_of(recipe: Recipe, listed: Sequence[Privacy] | None, where: str) -> list[Recipe]:
    """Return the recipe with each entry of ``privacy`` in it.

    Args:
        recipe: of the study.
        listed: the entries; None = the study has no such axis, and the recipe stays as it is.
        where: begins messages.

    Raises:
        InputError: the recipe has a privacy of its own, or does not go with one of the entries.
    """
    if listed is None:
        return [recipe]
    if recipe.privacy is not None:
        raise InputError(f"{where}: privacy stands in the recipe, too. Leave out one of them.")
    found = []
    for position, privacy in enumerate(listed):
        content = recipe.model_dump()
        if privacy != "none":
            content["privacy"] = privacy
        found.append(build(Recipe, content, f"{where}: privacy.{position}"))
    return found
