"""``ablate train-net``: the official Mask2Former in Detectron2 on our encoders and datasets.

Understands what the official script of that name does (``--config-file``, ``--num-gpus``,
``--resume``, ``--eval-only``, ``KEY VALUE`` …), and options for the encoder, the dataset, its share
and the seed. No code of Detectron2 or Mask2Former is changed.
"""

import argparse
from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.interrupts import exit_code
from encoder_ablations.utils.optional import missing

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate train-net --encoder clip_b16 --dataset camvid SOLVER.MAX_ITER 5000
  ablate train-net --encoder dinov2_b14 --freeze body --dataset my_data.yaml --num-gpus 4
  ablate train-net --config-file ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml
  ablate train-net … --resume                    goes on from the last checkpoint
  ablate train-net … --eval-only MODEL.WEIGHTS outputs/detectron2/runs/RUN/model_best.pth
  ablate report outputs/detectron2               all runs of --output"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate train-net --help``."""
    arguments = make_parser().parse_args(argv)
    if not 0 <= arguments.machine_rank < arguments.num_machines:
        raise InputError(
            f"--machine-rank {arguments.machine_rank} of --num-machines {arguments.num_machines}: "
            "machines are numbered 0, 1, …, and there is at least one."
        )
    if arguments.num_machines > 1 and arguments.dist_url == "auto":
        raise InputError(
            "--num-machines needs --dist-url tcp://ADDRESS:PORT, the same on every machine."
        )
    try:
        from detectron2.engine import launch
    except ImportError as error:
        raise missing("detectron2", error) from error
    from encoder_ablations.experiments.detectron2_loop.configuration import configure
    from encoder_ablations.experiments.detectron2_loop.session import work

    # here, so that what is wrong is said once, before processes are started
    setup = configure(arguments)
    given: tuple[object, ...] = (arguments,)
    if arguments.num_gpus * arguments.num_machines <= 1:  # work() then runs in this process
        given = (arguments, setup)
    try:
        launch(
            work,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=given,
        )
    except KeyboardInterrupt as stop:
        # a signal to this process alone would otherwise wait for the others to train to their end
        for process in active_children():
            process.terminate()
        print("stopped; with --resume the same command goes on from the last checkpoint, if any.")
        return exit_code(stop)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The arguments of Detectron2's ``default_argument_parser``, and ours; needs no Detectron2."""
    parser = options.make_parser(
        "train-net", "Trains the official Mask2Former in Detectron2.", EXAMPLES
    )
    parser.add_argument("--encoder", help="a name (see 'ablate encoders'), a timm model, or a YAML")
    parser.add_argument("--dataset", help="a name in configs/datasets, or a YAML")
    parser.add_argument(
        "--fraction", type=float, help="share of the training images, 0..1 (default 1)"
    )
    parser.add_argument("--seed", type=int, help="default 0")
    parser.add_argument(
        "--freeze",
        help="the encoder's frozen part: none, body, all_but_norms, or a number of blocks",
    )
    options.add_output_option(parser, "outputs/detectron2")
    parser.set_defaults(output=Path("outputs/detectron2"))
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        default="",
        help="a path, or one below the official configs/ (default: ADE20K's semantic R50 one)",
    )
    options.add_deterministic_option(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the output folder"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, or with --resume the last"
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        help="GPUs on this machine (default 1; without any: the CPU)",
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, help="machines of this run (default 1)"
    )
    parser.add_argument("--machine-rank", type=int, default=0, help="0, 1, … of this machine")
    parser.add_argument("--dist-url", default="auto", help="tcp://ADDRESS:PORT of machine 0")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="Detectron2 configuration keys"
    )
    return parser
