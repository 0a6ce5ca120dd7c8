"""``ablate train-net``: the unmodified Mask2Former in Detectron2, from the command line to the
report."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small_mask2former import FORMER, HEAD, SMALL

from encoder_ablations.engine.evaluation.metrics import mean_iou
from encoder_ablations.engine.evaluation.per_image import load_per_image
from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.commands.train_net import main, make_parser
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import PER_IMAGE, load_record
from encoder_ablations.utils.errors import InputError

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")
if find_spec("mask2former") is None:
    pytest.skip("the official Mask2Former is not on PYTHONPATH", allow_module_level=True)

from detectron2.data import DatasetCatalog, MetadataCatalog  # noqa: E402
from detectron2.evaluation import DatasetEvaluators, SemSegEvaluator, inference_on_dataset  # noqa: E402

from encoder_ablations.experiments.commands import evaluate, report, train  # noqa: E402
from encoder_ablations.experiments.detectron2_loop.configuration import configure  # noqa: E402
from encoder_ablations.experiments.detectron2_loop.recording import ConfusionEvaluator  # noqa: E402
from encoder_ablations.experiments.detectron2_loop.repository import clone_root  # noqa: E402
from encoder_ablations.experiments.detectron2_loop.session import work  # noqa: E402
from encoder_ablations.experiments.detectron2_loop.trainer import trainer_class  # noqa: E402
from encoder_ablations.experiments.runs.preparation import prepare_data  # noqa: E402


@pytest.fixture(scope="module")
def dataset(terrain, tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "terrain.yaml"
    path.write_text(yaml.safe_dump(terrain.model_dump(mode="json")))
    return str(path)


def words(changes=None):
    return [word for pair in (SMALL | (changes or {})).items() for word in pair]


def configured(*argv, changes=None):
    return configure(make_parser().parse_args([*argv, *words(changes)]))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A run of four steps on half of the images: its folder and what it printed."""
    study = tmp_path_factory.mktemp("outputs") / "mixed"
    options = [
        "--encoder",
        "vit_ti16",
        "--dataset",
        dataset,
        "--fraction",
        "0.5",
        "--seed",
        "4",
        "--output",
        str(study),
    ]
    assert main([*options, *words()]) == 0
    (folder,) = (study / "runs").iterdir()
    return folder, options


def test_record_is_whole(finished, dataset):
    folder, _ = finished
    record = load_run(folder)
    assert record is not None
    assert record.status == "finished"
    assert folder.name == record.run_id == record.spec.run_id
    assert record.spec.recipe.steps == 4
    assert record.spec.detectron2 is not None
    assert (record.spec.fraction, record.spec.seed, record.data.n_train) == (0.5, 4, 12)
    assert record.data.report_split == "test"
    assert record.curves.val_steps == [2, 4]
    assert record.curves.loss_steps == [1, 2, 3, 4]
    assert record.deformable_attention == ["numba"]
    assert record.cost.flops == sum(record.cost.flops_by_part.values())
    assert record.cost.train_seconds > 0
    assert "encoder.body" in record.cost.parameters_by_part
    assert any("Ignored pixels" in sentence for sentence in record.disclosures)
    assert any("Detectron2's loop" in sentence for sentence in record.disclosures)
    assert len(list((folder / "pictures").iterdir())) == 3 * len(record.pictures)
    images = load_per_image(folder / PER_IMAGE, np.array(record.confusion_matrix))
    assert len(images.ids) == 8


def test_numbers_are_those_of_detectron2s_evaluator(finished, dataset):
    """The curve is what SemSegEvaluator said, and our counts of the best weights on ``val`` give
    the same."""
    folder, _ = finished
    record = load_record(folder)
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    theirs = [line["sem_seg/mIoU"] / 100 for line in lines if "sem_seg/mIoU" in line]
    assert record.curves.val_score[-1] == pytest.approx(theirs[-1], rel=1e-9)
    assert max(record.curves.val_score) == record.convergence.best_val_score

    assert (
        record.convergence.best_step < 4
    )  # or the next lines would not tell the best weights from the last
    setup = configured("--encoder", "vit_ti16", "--dataset", dataset, "--seed", "4")
    model = trainer_class().build_model(setup.cfg)
    model.load_state_dict(torch.load(folder / "model_best.pth", weights_only=True)["model"])
    for split, expected in (
        ("val", record.convergence.best_val_score),
        ("test", record.metrics.miou),
    ):
        name = f"mars_terrain_{split}"
        ours = ConfusionEvaluator(name, 3)
        both = DatasetEvaluators([SemSegEvaluator(name, distributed=False), ours])
        result = inference_on_dataset(
            model, trainer_class().build_test_loader(setup.cfg, name), both
        )
        assert 100 * mean_iou(ours.confusion) == pytest.approx(result["sem_seg"]["mIoU"], rel=1e-12)
        assert mean_iou(ours.confusion) == pytest.approx(expected, rel=1e-9)


def test_report_mixes_its_runs_with_ours(finished, dataset):
    folder, _ = finished
    study = folder.parent.parent
    tiny = [
        "queries=6",
        "hidden=32",
        "encoder_layers=1",
        "decoder_layers=1",
        "decoder_feedforward=32",
        "points=64",
    ]
    argv = [
        "--encoder",
        "vit_ti16",
        "--segmenter",
        "mask2former_official",
        "--dataset",
        dataset,
        "--output",
        str(study),
    ]
    argv += [
        "encoder.weights=random",
        "encoder.channels=32",
        "recipe.steps=2",
        "recipe.batch_size=2",
    ]
    argv += ["recipe.augmentation.crop=[64,64]", *(f"segmenter.{setting}" for setting in tiny)]
    assert train.main(argv) == 0
    ours = next(
        run for run in map(load_record, (study / "runs").iterdir()) if run.spec.detectron2 is None
    )
    assert ours.spec.segmenter.name == "mask2former_official"
    assert ours.deformable_attention == ["numba"]
    assert ours.cost.flops_by_part == load_record(folder).cost.flops_by_part
    assert report.main([str(study)]) == 0
    page = (study / "report.html").read_text()
    assert "loop on the official augmentation" in page
    assert "loop=Detectron2" in page
    assert "detectron2.INPUT" not in page
    listed = (study / "runs.csv").read_text()
    assert ours.run_id in listed
    assert folder.name in listed


def test_finished_run_is_not_repeated(finished, capsys):
    folder, options = finished
    before = (folder / "record.json").stat().st_mtime_ns
    assert main([*options, *words()]) == 0
    assert "finished" in capsys.readouterr().out
    assert (folder / "record.json").stat().st_mtime_ns == before


def test_eval_only_with_augmentation(finished, dataset, capsys):
    folder, _ = finished
    weights = {"MODEL.WEIGHTS": str(folder / "model_best.pth"), "TEST.AUG.ENABLED": "True"}
    weights |= {"TEST.AUG.MIN_SIZES": "[64]"}
    state = (folder / "config.yaml").read_bytes()
    assert (
        main(
            [
                "--encoder",
                "vit_ti16",
                "--dataset",
                dataset,
                "--seed",
                "4",
                "--eval-only",
                *words(weights),
            ]
        )
        == 0
    )
    assert (folder / "evaluation" / "inference_TTA").is_dir()
    assert (folder / "config.yaml").read_bytes() == state


def test_best_weights_with_a_changed_bit_are_refused(finished, dataset, tmp_path):
    folder, _ = finished
    content = torch.load(folder / "model_best.pth", weights_only=True)
    assert content["run_id"] == folder.name
    next(iter(content["model"].values())).view(-1)[0] += 1e-3
    torch.save(content, tmp_path / "model_best.pth")
    weights = {"MODEL.WEIGHTS": str(tmp_path / "model_best.pth")}
    with pytest.raises(InputError, match=r"model_best\.pth is damaged.*checksum"):
        main(
            [
                "--encoder",
                "vit_ti16",
                "--dataset",
                dataset,
                "--seed",
                "4",
                "--eval-only",
                *words(weights),
            ]
        )


def test_our_evaluate_sends_to_theirs(finished):
    with pytest.raises(InputError, match=r"train-net --eval-only .*model_best\.pth"):
        evaluate.main([str(finished[0])])


def test_killed_and_resumed(dataset, tmp_path):
    """``kill -9`` after a checkpoint; the rest is trained, the curves are whole, and the record
    tells."""
    changes = {"SOLVER.CHECKPOINT_PERIOD": "2", "SOLVER.MAX_ITER": "60", "TEST.EVAL_PERIOD": "4"}
    argv = ["--encoder", "vit_ti16", "--dataset", dataset, "--output", str(tmp_path)]
    start = [sys.executable, "-m", "encoder_ablations.experiments.cli", "train-net", *argv]
    with subprocess.Popen(
        [*start, *words(changes)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/model_0000005.pth")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    (folder,) = (tmp_path / "runs").iterdir()
    assert load_record(folder) is None
    reached = (
        int((folder / "last_checkpoint").read_text().removeprefix("model_").removesuffix(".pth"))
        + 1
    )
    for other in ({"SOLVER.MAX_ITER": "50"}, {"SEED": "3"}):
        with pytest.raises(
            InputError, match=f"is a checkpoint of another run, {folder.name}; what is asked for is"
        ):
            main([*argv, "--resume", *words(changes | other | {"OUTPUT_DIR": str(folder)})])
    files = (folder / "data.json").read_bytes()
    (folder / "data.json").unlink()
    with pytest.raises(InputError, match=r"data\.json is missing"):
        main([*argv, "--resume", *words(changes)])
    (folder / "data.json").write_bytes(files)
    assert main([*argv, "--resume", *words(changes)]) == 0
    record = load_run(folder)
    assert record.curves.loss_steps[-1] == 60
    assert len(list(folder.glob("model_0*.pth"))) == 2
    assert record.curves.val_steps == list(range(4, 61, 4))
    assert any(f"checkpoint after step {reached}" in sentence for sentence in record.disclosures)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_finishes_and_saves_the_step(dataset, tmp_path, number, code):
    """Whenever it comes; without --resume the command does not begin anew over what is there."""
    argv = ["--encoder", "vit_ti16", "--dataset", dataset, "--output", str(tmp_path)]
    changes = {"SOLVER.MAX_ITER": "1000", "TEST.EVAL_PERIOD": "0"}
    start = [sys.executable, "-m", "encoder_ablations.experiments.cli", "train-net", *argv]
    with subprocess.Popen(
        [*start, *words(changes)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line in process.stdout:
            if b"Starting training" in line:
                process.send_signal(number)
        errors = process.stderr.read()
    assert process.returncode == code
    assert b"Traceback" not in errors
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "last_checkpoint").exists()
    assert load_record(folder) is None
    with pytest.raises(InputError, match=r"holds an unfinished run\. Add --resume"):
        main([*argv, *words(changes)])


def _asleep(*_arguments):
    time.sleep(600)


def test_a_signal_to_the_first_process_ends_those_that_it_started(dataset, tmp_path, monkeypatch):
    """As where several GPUs train: the process of the command only waits for theirs."""
    child = multiprocessing.get_context("spawn").Process(target=_asleep)

    def launch(*_arguments, **_options):
        child.start()
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("detectron2.engine.launch", launch)
    argv = ["--encoder", "vit_ti16", "--dataset", dataset, "--output", str(tmp_path), *words()]
    assert command(main, argv) == 143
    child.join(20)
    stopped = child.exitcode
    child.kill()
    assert stopped == -signal.SIGTERM


def test_it_learns(dataset, tmp_path):
    changes = {"SOLVER.MAX_ITER": "60", "TEST.EVAL_PERIOD": "0"}
    assert (
        main(
            [
                "--encoder",
                "darknet_tiny",
                "--dataset",
                dataset,
                "--output",
                str(tmp_path),
                *words(changes),
            ]
        )
        == 0
    )
    (folder,) = (tmp_path / "runs").iterdir()
    loss = load_record(folder).curves.loss
    assert np.mean(loss[-10:]) < 0.8 * np.mean(loss[:5])


def test_optimizer_follows_the_encoders_parts(dataset):
    setup = configured("--encoder", "vit_ti16", "--dataset", dataset, "--freeze", "2")
    model = trainer_class().build_model(setup.cfg)
    optimizer = trainer_class().build_optimizer(setup.cfg, model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = {names[group["params"][0]]: group for group in optimizer.param_groups}
    assert not any("body.reader.model.blocks.1." in name for name in groups)
    for name, group in groups.items():
        body = name.startswith("backbone.encoder.body.")
        assert group["lr"] == pytest.approx(3e-4 if body else 3e-3), name
    decay = {name: group["weight_decay"] for name, group in groups.items()}
    undecayed = {
        name
        for name in decay
        if name.startswith("backbone.") and name.endswith((".bias", "norm.weight"))
    }
    undecayed |= {name for name in decay if name.endswith(("pos_embed", "cls_token"))}
    assert len(undecayed) > 20
    assert not any(decay[name] for name in undecayed)
    assert decay["backbone.encoder.body.reader.model.blocks.5.attn.qkv.weight"] == 0.05
    assert decay["sem_seg_head.predictor.class_embed.bias"] == 0.05  # as in the official script
    assert decay["sem_seg_head.predictor.query_embed.weight"] == 0


def test_subset_is_that_of_our_engine(dataset):
    setup = configured(
        "--encoder", "vit_ti16", "--dataset", dataset, "--fraction", "0.25", "--seed", "5"
    )
    (name,) = setup.cfg.DATASETS.TRAIN
    data = prepare_data(setup.spec)
    expected = [data.train.samples.ids[index] for index in data.train.indices]
    assert [entry["image_id"] for entry in DatasetCatalog.get(name)] == expected
    assert len(expected) == 6
    assert MetadataCatalog.get(name).stuff_classes == list(setup.spec.dataset.classes)


def test_what_is_set_for_the_user(dataset):
    setup = configured("--encoder", "clip_b32", "--dataset", dataset)
    cfg = setup.cfg
    assert cfg.INPUT.SIZE_DIVISIBILITY == 64
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.PIXEL_MEAN[0] == pytest.approx(122.77, abs=0.01)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    assert cfg.DATASETS.TEST == ("mars_terrain_val",)
    assert any("SIZE_DIVISIBILITY is 64" in note for note in setup.notes)
    if not torch.cuda.is_available():
        assert cfg.MODEL.DEVICE == "cpu"
        assert not cfg.SOLVER.AMP.ENABLED
    uncropped = configured(
        "--encoder", "vit_ti16", "--dataset", dataset, changes={"INPUT.CROP.ENABLED": "False"}
    )
    assert uncropped.cfg.INPUT.SIZE_DIVISIBILITY == -1


def test_run_id_depends_on_what_decides_the_result(dataset):
    def run_id(*argv, **changes):
        options = {key.replace("__", "."): value for key, value in changes.items()}
        return configured(
            "--encoder", "vit_ti16", "--dataset", dataset, *argv, changes=options
        ).spec.run_id

    same = run_id()
    assert run_id(OUTPUT_DIR="elsewhere", SOLVER__CHECKPOINT_PERIOD="7") == same
    assert (
        len(
            {
                same,
                run_id("--seed", "1"),
                run_id(SOLVER__MAX_ITER="5"),
                run_id(INPUT__MAX_SIZE_TEST="99"),
            }
        )
        == 4
    )


@pytest.mark.parametrize(("key", "expected"), [("", "fp32"), ("highest", "fp32"), ("high", "tf32")])
def test_detectron2s_key_decides_about_tf32(dataset, key, expected):
    """PyTorch's default, TF32 in convolutions alone, is neither."""
    changes = {"FLOAT32_PRECISION": key} if key else {}
    spec = configured("--encoder", "vit_ti16", "--dataset", dataset, changes=changes).spec
    assert spec.recipe.precision == expected


def test_bfloat16_needs_no_loss_scale(dataset):
    """Only built here: Detectron2's mixed precision runs on CUDA alone."""
    cfg = configured("--encoder", "vit_ti16", "--dataset", dataset).cfg
    cfg.merge_from_list(["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"])
    inner = trainer_class()(cfg)._trainer
    assert inner.precision == torch.bfloat16
    assert not inner.grad_scaler.is_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_on_a_gpu(dtype, dataset, tmp_path):
    argv = ["--encoder", "vit_ti16", "--dataset", dataset, "--output", str(tmp_path)]
    assert main([*argv, *words({"SOLVER.AMP.DTYPE": dtype})]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    record = load_record(folder)
    assert record.spec.recipe.precision == {"float16": "fp16", "bfloat16": "bf16"}[dtype]
    assert "failed" not in record.deformable_attention


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_processes(dataset, tmp_path):
    argv = [
        "--encoder",
        "vit_ti16",
        "--dataset",
        dataset,
        "--output",
        str(tmp_path),
        "--num-gpus",
        "2",
    ]
    assert main([*argv, *words()]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert load_record(folder).status == "finished"


SEMANTIC = "ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"
E, D = ["--encoder", "vit_ti16"], ["--dataset", "DATASET"]
BAD = {
    "panoptic": (
        ["--config-file", "coco/panoptic-segmentation/maskformer2_R50_bs16_50ep.yaml"],
        {},
        r"another task: INPUT\.DATASET_MAPPER_NAME is coco_panoptic_lsj, supported is "
        r"mask_former_semantic.*R50",
    ),
    "instance": (
        ["--config-file", "coco/instance-segmentation/maskformer2_R50_bs16_50ep.yaml"],
        {},
        r"another task: INPUT\.DATASET_MAPPER_NAME is coco_instance_lsj",
    ),
    "video": (
        ["--config-file", "youtubevis_2019/video_maskformer2_R50_bs16_8ep.yaml"],
        {},
        r"video_.*Non-existent",
    ),
    "no file": (
        ["--config-file", "ade20k/maskformer2_R50.yaml"],
        {},
        r"no configuration .*Did you mean 'ade20k/",
    ),
    "unknown key": (
        [*E, *D],
        {"SOLVER.MAX_ITERS": "5"},
        r"SOLVER\.MAX_ITERS\. Did you mean 'SOLVER\.MAX_ITER'\?",
    ),
    "wrong type": ([*E, *D], {"SOLVER.MAX_ITER": "many"}, r"the command line: .*SOLVER\.MAX_ITER"),
    "mean": (
        [*E, *D],
        {"MODEL.PIXEL_MEAN": "[1.0, 2.0, 3.0]"},
        r"MODEL\.PIXEL_MEAN is \[1\.0, 2\.0, 3\.0\], the encoder needs \[127\.5",
    ),
    "format": ([*E, *D], {"INPUT.FORMAT": "BGR"}, r"INPUT\.FORMAT is BGR, the encoder needs RGB"),
    "features": (
        [*E, *D],
        {f"{HEAD}.IN_FEATURES": "['p2','res3']"},
        r"IN_FEATURES is \['p2', 'res3'\]",
    ),
    "classes": (
        [*E, *D],
        {f"{HEAD}.NUM_CLASSES": "7"},
        r"NUM_CLASSES is 7, the dataset mars_terrain_train has 3",
    ),
    "padding": (
        [*E, *D],
        {"INPUT.SIZE_DIVISIBILITY": "32"},
        r"SIZE_DIVISIBILITY is 32, but .* 64 .*cuts off",
    ),
    "no stuff classes": (
        E,
        {"DATASETS.TRAIN": "('coco_2017_train',)"},
        r"coco_2017_train has no stuff_classes.*set\(",
    ),
    "unknown dataset": (
        E,
        {"DATASETS.TRAIN": "('ade20k_sem_seg_trian',)"},
        r"Did you mean 'ade20k_sem_seg_train'",
    ),
    "our dataset": (
        E,
        {"DATASETS.TRAIN": "('camvid_train',)"},
        r"no dataset camvid_train\. Say --dataset camvid\.",
    ),
    "fraction": (
        [*E, *D, "--fraction", "2"],
        {},
        r"--fraction 2: allowed is more than 0, at most 1",
    ),
    "two datasets": (
        [*E, *D],
        {"DATASETS.TRAIN": "('mars_terrain_val',)"},
        r"--dataset is mars_terrain; give one",
    ),
    "encoder": (
        ["--encoder", "clip_b61", *D],
        {},
        r"unknown encoder 'clip_b61'\. Did you mean 'clip_b16'",
    ),
    "freeze alone": (["--freeze", "body"], {}, r"--freeze .* name an encoder"),
    "freeze": ([*E, *D, "--freeze", "boddy"], {}, r"freeze"),
    "fraction alone": (E, {}, r"--fraction .* name both"),
    "seed": ([*E, *D, "--seed", "1"], {"SEED": "2"}, r"--seed is 1, SEED is 2"),
    "negative seed": ([*E, *D, "--seed", "-1"], {}, r"--seed -1: allowed are 0 and more"),
    "gpus": ([*E, *D, "--num-gpus", "99"], {}, r"--num-gpus 99: there are \d"),
    "dtype": (
        [*E, *D],
        {"SOLVER.AMP.DTYPE": "float8"},
        r"unknown SOLVER\.AMP\.DTYPE 'float8'.*bfloat16",
    ),
    "crop": ([*E, *D], {"INPUT.CROP.SIZE": "(16, 16)"}, r"the Detectron2 configuration.*crop"),
}


def build(argv, options):
    """What happens before a folder is made: the configuration is read and checked, the model is
    built."""
    setup = configure(
        make_parser().parse_args([*argv, *(word for pair in options.items() for word in pair)])
    )
    return trainer_class().build_model(setup.cfg)


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, dataset):
    argv, changes, message = BAD[case]
    argv = [dataset if word == "DATASET" else word for word in argv]
    argv += ["--fraction", "0.5"] if case == "fraction alone" else []
    options = {} if case in ("panoptic", "instance", "video", "no file", "freeze alone") else SMALL
    if case in ("fraction alone", "no stuff classes", "unknown dataset", "our dataset"):
        options = SMALL | {f"{HEAD}.NUM_CLASSES": "150"}
    with pytest.raises(InputError, match=message) as error:
        build(argv, options | changes)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for(dataset):
    with pytest.raises(InputError, match=r"MODEL\.DEVICE is cuda, but PyTorch sees no CUDA device"):
        configured("--encoder", "vit_ti16", "--dataset", dataset, changes={"MODEL.DEVICE": "cuda"})


def test_missing_data_is_said_at_once(tmp_path):
    (tmp_path / "nowhere.yaml").write_text(
        f"name: n\nroot: {tmp_path}/x\nclasses: [a, b]\nsplits: {{train: t, val: v}}"
    )
    for encoder in ([], ["--encoder", "vit_ti16"]):
        with pytest.raises(InputError, match=r"there is no folder .*/x"):
            configure(
                make_parser().parse_args([*encoder, "--dataset", str(tmp_path / "nowhere.yaml")])
            )


def test_option_after_a_key():
    with pytest.raises(InputError, match="--encoder comes after a KEY VALUE pair"):
        configure(make_parser().parse_args(["SOLVER.MAX_ITER", "5", "--encoder", "vit_ti16"]))
    with pytest.raises(InputError, match=r"'SOLVER\.MAX_ITER' has no partner"):
        configure(make_parser().parse_args(["SOLVER.MAX_ITER"]))


def test_machines_need_an_address(capsys):
    assert command(main, ["--num-machines", "2", *E]) == 2
    assert "--dist-url" in capsys.readouterr().err


def test_checkpoint_of_another_encoder(finished, dataset, tmp_path):
    weights = str(finished[0] / "model_best.pth")
    out = {"OUTPUT_DIR": str(tmp_path / "out"), "MODEL.WEIGHTS": weights}
    for argv in ([], ["--eval-only"]):
        with pytest.raises(
            InputError, match=r"another encoder \(name vit_ti16 there, darknet_tiny here"
        ):
            main(["--encoder", "darknet_tiny", "--dataset", dataset, *argv, *words(out)])
    wider = {f"{FORMER}.NUM_OBJECT_QUERIES": "9"}
    with pytest.raises(
        InputError, match=r"does not fit the model: for sem_seg_head\S+ it holds \("
    ):
        main(["--encoder", "vit_ti16", "--dataset", dataset, "--eval-only", *words(out | wider)])
    broken = tmp_path / "broken.pth"
    broken.write_bytes((finished[0] / "model_best.pth").read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        main(
            [
                "--encoder",
                "vit_ti16",
                "--dataset",
                dataset,
                *words(out | {"MODEL.WEIGHTS": str(broken)}),
            ]
        )
    with pytest.raises(InputError, match="there is no checkpoint"):
        main(
            [
                "--encoder",
                "vit_ti16",
                "--dataset",
                dataset,
                *words(out | {"MODEL.WEIGHTS": "nowhere.pth"}),
            ]
        )
    with pytest.raises(InputError, match="--eval-only needs weights"):
        main(["--encoder", "vit_ti16", "--dataset", dataset, "--eval-only", *words()])


def test_folder_of_another_run(finished, dataset):
    with pytest.raises(InputError, match="holds the record of another run"):
        main(
            [
                "--encoder",
                "darknet_tiny",
                "--dataset",
                dataset,
                *words({"OUTPUT_DIR": str(finished[0])}),
            ]
        )


def test_failure_is_recorded(dataset, tmp_path):
    changes = {
        "SOLVER.BASE_LR": "1e30",
        "SOLVER.CLIP_GRADIENTS.ENABLED": "False",
        "SOLVER.MAX_ITER": "30",
    }
    with pytest.raises((FloatingPointError, ValueError)):
        main(
            [
                "--encoder",
                "vit_ti16",
                "--dataset",
                dataset,
                "--output",
                str(tmp_path),
                *words(changes),
            ]
        )
    (folder,) = (tmp_path / "runs").iterdir()
    record = load_record(folder)
    assert record.status == "failed"
    assert record.error.traceback


@pytest.fixture(scope="module")
def wide_run(wide, tmp_path_factory):
    """A run of four steps on 300 classes: its folder, and what names it on the command line."""
    folder = tmp_path_factory.mktemp("wide_run")
    path = folder / "wide.yaml"
    path.write_text(yaml.safe_dump(wide.model_dump(mode="json")))
    named = ["--encoder", "vit_ti16", "--dataset", str(path)]
    assert main([*named, "--output", str(folder / "study"), *words()]) == 0
    (run,) = (folder / "study" / "runs").iterdir()
    return run, named


def test_the_official_mapper_reads_300_classes(wide, wide_run):
    cfg = configured(*wide_run[1], changes={"INPUT.CROP.SIZE": "(96, 96)"}).cfg
    assert cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE == 65535
    loader = trainer_class().build_train_loader(cfg)
    for entry, _ in zip((entry for batch in loader for entry in batch), range(6), strict=False):
        mask = entry["sem_seg"]
        assert entry["instances"].gt_classes.tolist() == sorted(
            set(mask.unique().tolist()) - {65535}
        )
        assert entry["image"].shape[-2:] == mask.shape == (96, 96)
        assert (mask[(entry["image"] == 128).all(0)] == 65535).all()
        assert (mask[80:] == 65535).all()  # no image is resized to more than 80 rows
        whole = set(np.unique(read_png(wide, "train", entry["image_id"])).tolist())
        assert set(mask.unique().tolist()) <= whole


def read_png(wide, split, name):
    return np.asarray(Image.open(wide.folder / "masks" / split / f"{name}.png")).astype(np.int64)


def test_300_classes_are_counted_as_the_files_say(wide, wide_run):
    folder, named = wide_run
    record = load_record(folder)
    assert (record.status, len(record.metrics.per_class_iou)) == ("finished", 300)
    cfg = configured(*named).cfg
    model = trainer_class().build_model(cfg)
    model.load_state_dict(torch.load(folder / "model_best.pth", weights_only=True)["model"])
    expected = np.zeros((300, 300), np.int64)
    with torch.inference_mode():
        for (entry,) in trainer_class().build_test_loader(cfg, "wide_test"):
            (output,) = model.eval()([entry])
            truth = read_png(wide, "test", entry["image_id"])
            for label, found in zip(
                truth.flat, output["sem_seg"].argmax(0).numpy().flat, strict=True
            ):
                if label != 65535:
                    expected[label, found] += 1
    np.testing.assert_array_equal(np.array(record.confusion_matrix), expected)
    assert expected[255].sum() == 4 * 12 * 16
    evaluator = SemSegEvaluator("wide_test", distributed=False)
    result = inference_on_dataset(
        model, trainer_class().build_test_loader(cfg, "wide_test"), evaluator
    )
    assert 100 * record.metrics.miou == pytest.approx(result["sem_seg"]["mIoU"], rel=1e-9)
    assert len(record.curves.val_score) == 2
    assert command(report.main, [str(folder.parent.parent)]) == 0


def test_the_official_configuration_as_it_is(monkeypatch):
    """Without our encoder: the R50 of the paper, untouched, and no record."""
    # ADE20K is not on this disk
    monkeypatch.setattr(
        "encoder_ablations.experiments.detectron2_loop.configuration.check_files", lambda *_: None
    )
    setup = configure(make_parser().parse_args([]))
    assert setup.spec is None
    assert setup.cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone"
    assert setup.cfg.INPUT.SIZE_DIVISIBILITY == 512
    assert any("no record" in note for note in setup.notes)
    assert (clone_root() / "configs" / SEMANTIC).exists()
    assert callable(work)
