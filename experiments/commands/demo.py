"""``ablate demo``: from nothing to a report on any machine, without network or GPU."""

from collections.abc import Sequence

from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import cli, options
from encoder_ablations.experiments.studies.study import load_study_spec
from encoder_ablations.experiments.study_options import add_choices, read_choices

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate demo
  ablate demo --device cuda"""


def main(argv: Sequence[str] = ()) -> int:
    """See ``ablate demo --help``."""
    parser = options.make_parser(
        "demo", "Makes a Mars-terrain dataset on disk and runs configs/studies/demo.yaml.", EXAMPLES
    )
    options.add_overrides(parser, "recipe.steps=50")
    options.add_output_option(parser, "outputs/demo")
    options.add_training_options(parser)
    add_choices(parser)
    arguments = parser.parse_intermixed_args(argv)
    # what "run" would refuse is refused before the terrain is generated
    read_choices(arguments)
    load_study_spec("demo", arguments.overrides)
    from encoder_ablations.data.synthetic.terrain import generate_terrain

    dataset = load_dataset("mars_terrain")
    generate_terrain(dataset.folder, train=160, val=40, test=60, size=128, seed=0, progress=True)
    print(f"dataset: {dataset.folder} (generated: background, crater, boulder)")
    return cli.main(["run", "demo", *argv])
