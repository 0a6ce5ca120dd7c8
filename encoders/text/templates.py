"""Prompts: sentences into which the name of a class is put, at ``{}``."""

from encoder_ablations.utils.errors import nearest

PLACE = "{}"

# Radford et al., ICML 2021: the 80 prompts of openai/CLIP,
# notebooks/Prompt_Engineering_for_ImageNet.ipynb
IMAGENET = """\
a bad photo of a {}. | a photo of many {}. | a sculpture of a {}. | a photo of the hard to see {}.
a low resolution photo of the {}. | a rendering of a {}. | graffiti of a {}.
a bad photo of the {}. | a cropped photo of the {}. | a tattoo of a {}. | the embroidered {}.
a photo of a hard to see {}. | a bright photo of a {}. | a photo of a clean {}.
a photo of a dirty {}. | a dark photo of the {}. | a drawing of a {}. | a photo of my {}.
the plastic {}. | a photo of the cool {}. | a close-up photo of a {}.
a black and white photo of the {}. | a painting of the {}. | a painting of a {}.
a pixelated photo of the {}. | a sculpture of the {}. | a bright photo of the {}.
a cropped photo of a {}. | a plastic {}. | a photo of the dirty {}.
a jpeg corrupted photo of a {}. | a blurry photo of the {}. | a photo of the {}.
a good photo of the {}. | a rendering of the {}. | a {} in a video game. | a photo of one {}.
a doodle of a {}. | a close-up photo of the {}. | a photo of a {}. | the origami {}.
the {} in a video game. | a sketch of a {}. | a doodle of the {}. | a origami {}.
a low resolution photo of a {}. | the toy {}. | a rendition of the {}. | a photo of the clean {}.
a photo of a large {}. | a rendition of a {}. | a photo of a nice {}. | a photo of a weird {}.
a blurry photo of a {}. | a cartoon {}. | art of a {}. | a sketch of the {}. | a embroidered {}.
a pixelated photo of a {}. | itap of the {}. | a jpeg corrupted photo of the {}.
a good photo of a {}. | a plushie {}. | a photo of the nice {}. | a photo of the small {}.
a photo of the weird {}. | the cartoon {}. | art of the {}. | a drawing of the {}.
a photo of the large {}. | a black and white photo of a {}. | the plushie {}.
a dark photo of a {}. | itap of a {}. | graffiti of the {}. | a toy {}. | itap of my {}.
a photo of a cool {}. | a photo of a small {}. | a tattoo of the {}."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    "aerial": ("Aerial photo of {} in the city",),
    "imagenet": tuple(IMAGENET.replace("\n", " | ").split(" | ")),
    "name": ("{}",),
}
"""Sets of prompts by name."""


def templates_of(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the prompts of a set's name, or those that are given themselves.

    Raises:
        ValueError: the set is unknown, there is no prompt, or one has no single place for the name.
    """
    if isinstance(given, str) and given in TEMPLATES:
        return TEMPLATES[given]
    if isinstance(given, str):
        given = (given,)
        if PLACE not in given[0]:
            names = sorted(TEMPLATES)
            raise ValueError(
                f"unknown template set '{given[0]}'.{nearest(given[0], names)} Allowed: "
                f"{', '.join(names)}, or sentences with {PLACE} for the name of the class"
            )
    if not given:
        raise ValueError(f"templates are empty; give one, such as '{TEMPLATES['simple'][0]}'")
    wrong = [template for template in given if template.count(PLACE) != 1]
    if wrong:
        raise ValueError(f"the template '{wrong[0]}' needs {PLACE} once, for the name of the class")
    return given


def prompts_of(text: str, templates: tuple[str, ...]) -> list[str]:
    """Return a text in each of the templates."""
    return [template.replace(PLACE, text) for template in templates]
