"""``ablate keys``: every key of the YAMLs and of ``key.sub=value``, from the models' docstrings."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from encoder_ablations.data.datasets.spec import DatasetSpec, HubSource
from encoder_ablations.data.partitions.spec import DirichletSpec, LabelSkewSpec
from encoder_ablations.data.views.augmentation import (
    AugmentationSpec,
    BlurSpec,
    ClassBalanceSpec,
    ColorSpec,
    GammaSpec,
    JpegSpec,
    MixSpec,
    NoiseSpec,
)
from encoder_ablations.encoders.spec import AdaptSpec, EncoderSpec, LoraSpec
from encoder_ablations.engine.privacy import ClientPrivacySpec, PrivacySpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import (
    CheckpointsSpec,
    EarlyStoppingSpec,
    EmaSpec,
    OptimizerSpec,
    ScheduleSpec,
    SwaSpec,
)
from encoder_ablations.engine.training.federated.spec import (
    FedAdam,
    FedAvgM,
    FederationSpec,
    FedProx,
    Local,
)
from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.tuning.spec import HalvingSpec, Range, TuneSpec
from encoder_ablations.experiments.studies.pseudo_labels import PseudoLabelChoice
from encoder_ablations.experiments.studies.seed_rule import SeedRule, UntilNarrow
from encoder_ablations.experiments.studies.study import StudySpec
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.loss_registry import loss_names, loss_settings
from encoder_ablations.segmenters.registry import head_settings
from encoder_ablations.segmenters.spec import ImageHeadSpec
from encoder_ablations.segmenters.zero_shot.methods import (
    BlockRule,
    FolderSpec,
    SamSpec,
    SuperpixelSpec,
)
from encoder_ablations.segmenters.zero_shot.spec import PamrSpec
from encoder_ablations.utils.config import in_yaml
from encoder_ablations.utils.errors import unknown

EXAMPLES = """  ablate keys                      all of them, as docs/configuration.md
  ablate keys recipe encoder       these sections"""

SECTIONS: dict[str, type[BaseModel]] = {
    "study": StudySpec,
    "study.seeds": SeedRule,
    "study.seeds.until": UntilNarrow,
    "recipe": Recipe,
    "recipe.augmentation": AugmentationSpec,
    "recipe.augmentation.photometric": ColorSpec,
    "recipe.augmentation.gamma": GammaSpec,
    "recipe.augmentation.blur": BlurSpec,
    "recipe.augmentation.noise": NoiseSpec,
    "recipe.augmentation.jpeg": JpegSpec,
    "recipe.augmentation.class_balance": ClassBalanceSpec,
    "recipe.augmentation.mix": MixSpec,
    "recipe.optimizer": OptimizerSpec,
    "recipe.schedule": ScheduleSpec,
    "recipe.average ema": EmaSpec,
    "recipe.average swa": SwaSpec,
    "recipe.early_stopping": EarlyStoppingSpec,
    "recipe.checkpoints": CheckpointsSpec,
    "recipe.privacy": PrivacySpec,
    "encoder": EncoderSpec,
    "encoder.adapt": AdaptSpec,
    "encoder.adapt.lora": LoraSpec,
    "pseudo_labels": PseudoLabelChoice,
    "tune": TuneSpec,
    "tune.settings range": Range,
    "tune.halving": HalvingSpec,
    "federation": FederationSpec,
    "federation.partition dirichlet": DirichletSpec,
    "federation.partition label_skew": LabelSkewSpec,
    "federation.algorithm fedprox": FedProx,
    "federation.algorithm fedavgm": FedAvgM,
    "federation.algorithm fedadam": FedAdam,
    "federation.algorithm local": Local,
    "federation.privacy": ClientPrivacySpec,
    "dataset": DatasetSpec,
    "dataset.hub": HubSource,
    "segmenter.image_head": ImageHeadSpec,
    "segmenter zero_shot.plan": BlockRule,
    "segmenter zero_shot.regions sam": SamSpec,
    "segmenter zero_shot.regions folder": FolderSpec,
    "segmenter zero_shot.regions superpixels": SuperpixelSpec,
    "segmenter zero_shot.refine": PamrSpec,
}
HEADS = "segmenter"
"""The section of all heads, each of which has one of its own, "segmenter NAME"."""
LOSSES = "loss"
"""The same of the losses of dense heads."""

HEAD = """# Every key

What YAMLs, and `key.sub=value` on the command line, may say. Later wins: defaults, YAML, command
line. An unknown key is an error that names the nearest one. Encoders, segmenters and datasets may
be a name, a path, or a mapping or YAML that names a `base` and is a delta over it. This page is
what `ablate keys` prints.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate keys --help``."""
    parser = options.make_parser(
        "keys", "Lists every key of the configuration, its default and its meaning.", EXAMPLES
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="section",
        help=f"of {', '.join([*SECTIONS, HEADS, LOSSES])} (default: all)",
    )
    wanted: list[str] = parser.parse_args(argv).sections
    if wanted:
        print(describe_sections(wanted))
    else:
        print(describe_all())
    return 0


def describe_all() -> str:
    """Return the page of every key, docs/configuration.md."""
    texts = [describe(name, spec) for name, spec in all_sections().items()]
    return "\n".join([HEAD, *texts])


def describe_sections(wanted: Sequence[str]) -> str:
    """Return the keys of some sections, and of those below them.

    Raises:
        InputError: there is no such section.
    """
    sections = all_sections()
    found: dict[str, type[BaseModel]] = {}
    for section in wanted:
        chosen = _with_those_below(section, sections)
        if not chosen:
            raise unknown("section", section, [*sections, HEADS])
        found |= chosen
    return "\n".join(describe(name, spec) for name, spec in found.items())


def all_sections() -> dict[str, type[BaseModel]]:
    """Return ``SECTIONS`` and one section for every head and loss of the registries."""
    heads = {f"{HEADS} {name}": head_settings(name)[0] for name in BUILT_IN}
    losses = {f"{LOSSES} {name}": loss_settings(name)[0] for name in loss_names()}
    return SECTIONS | heads | losses


def _with_those_below(
    section: str, sections: Mapping[str, type[BaseModel]]
) -> dict[str, type[BaseModel]]:
    """Return a section and those below it: "recipe" is also "recipe.optimizer"."""
    starts = (f"{section}.", f"{section} ")
    return {
        name: spec for name, spec in sections.items() if name == section or name.startswith(starts)
    }


def describe(title: str, spec: type[BaseModel]) -> str:
    """Return a heading, what the model is, and a table of its keys, in Markdown."""
    rows = [_row(field.alias or name, field) for name, field in spec.model_fields.items()]
    head = [
        f"## {title}",
        "",
        _in_markdown(spec.__doc__),
        "",
        "| key | default | |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    """Return the row of a key."""
    meaning = _in_markdown(field.description).replace("|", "/")
    return f"| `{name}` | {_default(field)} | {meaning} |"


def _in_markdown(text: str | None) -> str:
    """Return a docstring as one line."""
    return " ".join((text or "").split()).replace("``", "`")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None:
        return "–"
    return f"`{in_yaml(value)}`"
