"""Settings of the features of texts; reading them imports no PyTorch."""

from typing import Annotated

from pydantic import Field, field_validator

from encoder_ablations.encoders.text.templates import templates_of
from encoder_ablations.utils.config import Config

Sentence = Annotated[str, Field(min_length=1, max_length=300)]


class TextSpec(Config):
    """How texts become features."""

    templates: Sentence | tuple[Sentence, ...] = "simple"
    """Prompts into which each text is put: "simple" (``a photo of a {}.``), "aerial" (``Aerial
    photo of {} in the city``), "imagenet" (OpenAI's 80 prompts), "name" (the text alone), or
    sentences with ``{}``. The features of all prompts are averaged.
    """
    tower: str | None = None
    """The text tower and its tokeniser: a folder in transformers' format, or a repository of the
    Hugging Face hub. null = the one that was trained with the encoder. Where the encoder's weights
    are a folder in transformers' format with a text tower, it is that one. Where they are random
    and no tower is named, the texts have random features.
    """

    @field_validator("templates")
    @classmethod
    def _known(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        templates_of(given)
        return given
