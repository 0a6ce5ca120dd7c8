"""A study in Python: two encoders from random weights on generated terrain.

    python examples/python_study.py

It needs no network and less than a minute on a CPU. It writes outputs/python_study/report.html, as
``ablate run`` does. If you run it again, finished runs are not repeated.
"""

import sys
from pathlib import Path

import encoder_ablations as ea
from encoder_ablations.experiments.commands.run import run_study
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.study_options import Choices

OUTPUT = Path("outputs/python_study")
DATA = Path("datasets/python_study")


def make_study() -> ea.StudySpec:
    """Return a grid of two encoders and two seeds. Entries are what a study's YAML may hold."""
    return ea.StudySpec(
        name="python_study",
        encoders=[
            {"base": "darknet_tiny", "channels": 32},
            {"base": "vit_ti16", "weights": "random", "channels": 32},
        ],
        segmenters=["linear"],
        datasets=[{"base": "mars_terrain", "root": str(DATA.resolve())}],
        seeds=[0, 1],
        recipe=ea.Recipe.model_validate(
            {
                "steps": 10,
                "batch_size": 4,
                "evaluate_every": 5,
                "augmentation": {"crop": [64, 64]},
                "optimizer": {"lr": 0.001, "encoder_lr_multiplier": 1.0},
                "schedule": {"warmup_steps": 2},
            }
        ),
    )


def main() -> int:
    """Run the study and print the mIoU of each run. Returns 1 if a run failed."""
    ea.generate_terrain(DATA, train=24, val=6, test=8, size=64, seed=0)
    study = make_study()
    code = run_study(study, OUTPUT, Choices(Execution(device="cpu")))
    for run in ea.plan(study):
        record = ea.load_record(OUTPUT / "runs" / run.run_id)
        if record is not None and record.metrics is not None:
            score = f"mIoU {record.metrics.miou:.3f} on {record.data.report_split}"
            print(f"{run.encoder.title}, seed {run.seed}: {score}")
    return code


if __name__ == "__main__":
    sys.exit(main())
