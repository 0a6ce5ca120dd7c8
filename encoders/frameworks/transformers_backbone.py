"""Every encoder as a backbone of transformers, for UperNet, Mask2Former and other models.

They are the models that build on ``AutoBackbone``::

    register()
    config = EncoderBackboneConfig(encoder={"name": "dinov3_s16", "freeze": "body"})
    model = UperNetForSemanticSegmentation(UperNetConfig(backbone_config=config, num_labels=19))

Save and load with ``save_pretrained`` and ``from_pretrained``, of the backbone or of the model
around it; the process that loads calls :func:`register` first. A folder is loaded by
``EncoderBackbone.from_pretrained``: transformers' ``AutoBackbone.from_pretrained`` takes names on
the hub only. Images come in normalised with ``backbone.encoder.normalization``.

transformers' DPT cannot use these backbones: for depth it reads token sequences and makes its own
pyramid, for segmentation it builds a ViT of its own whatever backbone is given.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from encoder_ablations.encoders.adaptation import refuse_adapters
from encoder_ablations.encoders.base import STRIDES
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.freezing import freeze
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.table.rows import ViTRow
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError


class EncoderBackboneConfig(BackboneConfigMixin, PreTrainedConfig):
    """Which encoder, and which levels of its pyramid.

    Attributes:
        encoder: an :class:`EncoderSpec`, or a mapping of its fields; kept and saved as a mapping of
            all of them.
        seed: of the random weights: the neck's, and the body's where the spec says "random".
        out_features, out_indices: levels that are given out, as names of p2..p5 or as positions; by
            default all four.

    Raises:
        InputError: a field that :class:`EncoderSpec` does not have, a value that it does not allow,
            adapters, or a vision transformer without a neck.
    """

    model_type = "encoder_ablations"

    encoder: Any = None
    seed: int = 0
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_names = list(STRIDES)
        names, indices = kwargs.pop("out_features", None), kwargs.pop("out_indices", None)
        if names is None and indices is None:
            names = self.stage_names
        self.set_output_features_output_indices(out_features=names, out_indices=indices)
        if self.encoder is not None:  # transformers makes empty configurations to compare with
            spec = self.encoder if isinstance(self.encoder, EncoderSpec) else _read(self.encoder)
            refuse_adapters(spec, "transformers")
            if spec.neck == "none" and isinstance(find_row(spec.name), ViTRow):
                raise InputError(
                    "a transformers backbone gives out a pyramid, but the encoder is a vision "
                    "transformer with neck: none. Remove it."
                )
            self.encoder = spec.model_dump(mode="json")
        super().__post_init__(**kwargs)


def _read(fields: Mapping[str, Any] | None) -> EncoderSpec:
    return build(EncoderSpec, fields or {}, "the backbone's encoder")


class EncoderBackbone(BackboneMixin, PreTrainedModel):
    """An :class:`Encoder` with the interface of transformers.

    ``from_pretrained`` builds a model without memory and puts the file's tensors into it as new,
    trainable parameters. Tensors that the file lacks, such as buffers that are never saved, stay
    uninitialised. :meth:`_init_weights` mends this; transformers calls it for the backbone whether
    it stands alone or within a model.

    Attributes:
        encoder: the encoder.
    """

    config: EncoderBackboneConfig
    main_input_name = "pixel_values"
    has_attentions = False
    never_saved: Tensor

    def __init__(self, config: EncoderBackboneConfig) -> None:
        super().__init__(config)
        spec = _read(config.encoder)
        self.without_memory = torch.get_default_device().type == "meta"
        # the weights come from the checkpoint: the spec's need not be read or downloaded
        if self.without_memory:
            spec = spec.model_copy(update={"weights": "random"})
        self.encoder = build_encoder(spec, config.seed)
        self.num_features = [level.channels for level in self.encoder.levels]
        # transformers does not initialise a foreign module all of whose own tensors came from the
        # file. This tensor never does, so the backbone is always initialised.
        self.register_buffer("never_saved", torch.zeros(()), persistent=False)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[tuple[Tensor, ...], ...]:
        """Return the levels in ``out_features``.

        Args:
            pixel_values: B×3×H×W, normalised with ``self.encoder.normalization``; any H and W.
            output_hidden_states: whether to give all four levels as ``hidden_states``.
            output_attentions: without effect; encoders do not give their attention maps.
            return_dict: False for a plain tuple.

        Returns:
            ``feature_maps``: B×C×⌈H/s⌉×⌈W/s⌉ for each level, s = 4, 8, 16, 32 for p2, p3, p4, p5.
        """
        pyramid = self.encoder(pixel_values)
        maps = tuple(pyramid[name] for name in self.out_features)
        # an argument that is None means the configuration's
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if return_dict is None:
            return_dict = self.config.return_dict
        output = BackboneOutput(feature_maps=maps)
        if output_hidden_states:
            output = BackboneOutput(feature_maps=maps, hidden_states=tuple(pyramid.values()))
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what was not loaded, if the model was built without memory, and freeze again.

        The values are random, as transformers reports. Otherwise the encoder has its weights when
        it is built, and transformers' normal distribution must not overwrite them.
        """
        if module is not self or not self.without_memory:
            return
        init.zeros_(self.never_saved)
        spec = _read(self.config.encoder)
        random = spec.model_copy(update={"weights": "random"})
        copy_tensors(build_encoder(random, self.config.seed), self.encoder)
        freeze(self.encoder, spec.freeze)


def copy_tensors(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers, except to those that transformers has loaded from a file."""
    for name, value in [*source.named_parameters(), *source.named_buffers()]:
        owner, _, own = name.rpartition(".")
        init.copy_(getattr(target.get_submodule(owner), own), value)


def register() -> None:
    """Make transformers know these backbones; calling it again changes nothing.

    transformers has no other way: it finds foreign classes by registration, or by running code that
    lies beside the weights (``trust_remote_code``).
    """
    AutoConfig.register(EncoderBackboneConfig.model_type, EncoderBackboneConfig, exist_ok=True)
    AutoBackbone.register(EncoderBackboneConfig, EncoderBackbone, exist_ok=True)
