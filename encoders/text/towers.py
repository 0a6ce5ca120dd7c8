"""Text towers with their tokenisers, by transformers: CLIP, SigLIP, SigLIP 2, TIPSv2."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from encoder_ablations.encoders.frameworks.transformers_output import transformers_errors_only
from encoder_ablations.encoders.weights.hub import download_repository
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import sha256_of
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import shortened

FILES = ("*.json", "*.txt", "*.model")
"""Files of a repository that are read beside its weights."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights in the order of preference."""
KINDS = {
    "clip": "CLIPTextModelWithProjection",
    "siglip": "SiglipTextModel",
    "siglip2": "Siglip2TextModel",
    "tipsv2": "Tipsv2TextModel",
}
"""transformers' classes by the kind of model."""
MASKED = ("tipsv2",)
"""Kinds that are told which tokens are padding. SigLIP was trained without being told, and in CLIP
padding stands behind the token that is read."""
BATCH = 128


@dataclass(frozen=True)
class TextTower:
    """A text tower.

    Attributes:
        source: its folder or repository.
        kind: a key of ``KINDS``.
        model: of transformers, in evaluation mode on the CPU.
        tokenizer: of transformers.
        length: largest number of tokens of a text.
        digest: SHA-256 of all files that it was read from.
    """

    source: str
    kind: str
    model: Any
    tokenizer: Any
    length: int
    digest: str

    @torch.no_grad()
    def features(self, prompts: list[str]) -> Tensor:
        """Return N×D float32 of N prompts, as the tower gives them.

        Raises:
            InputError: a prompt has more tokens than the tower reads.
        """
        found = []
        with Bar(total=len(prompts), desc="texts", unit="text") as bar:
            for start in range(0, len(prompts), BATCH):
                found.append(self._batch(prompts[start : start + BATCH]))
                bar.update(len(found[-1]))
        return torch.cat(found)

    def _batch(self, prompts: list[str]) -> Tensor:
        """Return the features of a few prompts. All of these towers were trained in lower case."""
        lower = [prompt.lower() for prompt in prompts]
        # CLIP does not see what stands behind the last token; without it it is six times faster
        padding = "max_length"
        if self.kind == "clip":
            padding = "longest"
        tokens = self.tokenizer(lower, padding=padding, max_length=self.length)
        for prompt, ids in zip(prompts, tokens["input_ids"], strict=True):
            if len(ids) > self.length:
                raise InputError(
                    f"the text '{shortened(prompt)}' has {len(ids)} tokens; {self.source} reads "
                    f"at most {self.length}. Shorten it."
                )
        inputs = {"input_ids": torch.tensor(tokens["input_ids"])}
        if self.kind in MASKED:
            inputs["attention_mask"] = torch.tensor(tokens["attention_mask"])
        output = self.model(**inputs)
        found: Tensor = output.text_embeds if self.kind == "clip" else output.pooler_output
        return found.float()


def tower_folder(source: str) -> Path:
    """Return the folder of a text tower, downloaded if it is a repository of the hub.

    Raises:
        InputError: it cannot be had.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(
            f"text tower: there is no folder {source}. Give a folder in transformers' format with "
            "model and tokeniser, or a repository of the hub such as openai/clip-vit-base-patch16."
        )
    return download_repository(source, FILES, WEIGHTS)


def load_tower(source: str) -> TextTower:
    """Return the text tower of a folder or of a repository of the Hugging Face hub.

    A folder may hold the whole model, of which the text tower is read, or the tower alone.

    Raises:
        InputError: it cannot be had, or is no text tower of a known kind.
    """
    folder = tower_folder(source)
    try:
        # that the vision tower is not read is no news
        with transformers_errors_only():
            return _read_tower(folder, source)
    except InputError:
        raise
    except ImportError as error:
        raise missing("sentencepiece", error) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).partition("\n")[0][:160]
        raise InputError(
            f"text tower {source}: cannot be read ({first}). A folder in transformers' format is "
            "needed, with config.json, weights and tokeniser."
        ) from error


def _read_tower(folder: Path, source: str) -> TextTower:
    """Return the tower of a folder."""
    from transformers import AutoConfig, AutoTokenizer

    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = _kind_of(config, source)
    own = getattr(config, "text_config", config)
    if own is not config and kind == "clip":
        # the whole model's counts, whatever its text part says
        own.projection_dim = config.projection_dim
    model = _model(kind, own, folder, source)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    length = int(own.max_position_embeddings)
    return TextTower(source, kind, model.eval(), tokenizer, length, tower_digest(folder))


def tower_digest(folder: Path) -> str:
    """Return one SHA-256 of the names and contents of the files that a tower is read from."""
    digest = hashlib.sha256()
    for pattern in (*FILES, *WEIGHTS):
        for path in sorted(folder.glob(pattern)):
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _kind_of(config: Any, source: str) -> str:
    """Return the kind of model that a configuration is of."""
    kind = str(config.model_type).removesuffix("_text_model")
    if kind not in KINDS:
        raise InputError(
            f"text tower {source}: '{config.model_type}' is no known kind. Allowed: "
            f"{', '.join(KINDS)}."
        )
    return kind


def _model(kind: str, config: Any, folder: Path, source: str) -> Any:
    """Return the tower with all of its weights; transformers alone would draw those that lack."""
    import transformers

    found: Any = getattr(transformers, KINDS[kind], None)
    if found is None:
        raise InputError(
            f"text tower {source}: transformers {transformers.__version__} has no {KINDS[kind]}. "
            "Install a newer one: pip install -U transformers."
        )
    model, report = found.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    lacking = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if lacking:
        raise InputError(
            f"text tower {source}: its weights lack {lacking[0]}. Give the folder of a whole "
            "model, or of a text tower with its projection."
        )
    return model
