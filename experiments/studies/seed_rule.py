"""Which seeds a study takes: a list, or a rule that adds seeds until they say enough."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from encoder_ablations.utils.config import Config

MOST = 100
"""More seeds than this cannot be asked for."""
Points = Annotated[float, Field(gt=0, le=100)]


class UntilNarrow(Config):
    """An encoder has enough seeds when the interval of its mean score is narrow."""

    width: Points
    """Whole width of the 95 % interval of the main metric, in points."""


def _until_kind(until: object) -> str:
    if isinstance(until, dict | UntilNarrow):
        return "as mapping"
    return "as text"


def _separated(until: object) -> object:
    if until != "separated":
        raise ValueError("write separated, or a width in points such as {width: 1.0}")
    return until


Until = Annotated[
    Annotated[Literal["separated"], BeforeValidator(_separated), Tag("as text")]
    | Annotated[UntilNarrow, Tag("as mapping")],
    Discriminator(_until_kind),
]


class SeedRule(Config):
    """Seeds 0, 1, 2, …, as many as it takes; intervals stay valid although there are looks."""

    model_config = ConfigDict(serialize_by_alias=True)

    first: int = Field(alias="from", ge=2, le=MOST)
    """Seeds with which every encoder begins; intervals need three."""
    to: int = Field(ge=3, le=MOST)
    """Seeds with which an encoder ends at the latest."""
    until: Until
    """When an encoder has enough seeds: {width: 1.0}, the interval of its mean score is at most one
    point wide; or "separated", the seeds show a difference to every other encoder.
    """

    @model_validator(mode="after")
    def _can_end(self) -> "SeedRule":
        if self.to < self.first:
            raise ValueError(
                f"to {self.to} is less than from {self.first}, so the rule never ends; "
                "allowed is a number from there on"
            )
        return self

    @property
    def words(self) -> str:
        """Return the rule in words."""
        aim = "they show a difference to every other encoder"
        if isinstance(self.until, UntilNarrow):
            aim = f"the interval of its score is at most {self.until.width:g} points wide"
        return f"every encoder gets {self.first} seeds, and more until {aim}, at most {self.to}"


class RaisedRule(SeedRule):
    """A rule whose ``to`` was raised after results were known, so that its promise is void."""

    raised_from: int
    """The first ``to``."""


def _kind(seeds: object) -> str:
    if isinstance(seeds, dict | SeedRule):
        return "as mapping"
    return "as list"


Seeds = Annotated[
    Annotated[list[int], Field(min_length=1), Tag("as list")]
    | Annotated[SeedRule, Tag("as mapping")],
    Discriminator(_kind),
]
