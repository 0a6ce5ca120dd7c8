"""The operator that the official Mask2Former (Cheng et al., CVPR 2022) imports, whether or not its own was compiled.

Its pixel decoder does ``import MultiScaleDeformableAttention``, a CUDA extension that does not compile on current
PyTorch. :func:`provide_operator` puts a module of that name into ``sys.modules``. This is the one place that does so,
and deliberately: the import is the only way in that the unmodified code offers. Nothing of its code is changed.
"""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_backward,
    deformable_attention_path,
    deformable_attention_reference,
)
from encoder_ablations.utils.errors import InputError

NAME = "MultiScaleDeformableAttention"
IMPORTER = "mask2former.modeling.pixel_decoder.ops.functions.ms_deform_attn_func"
"""The one module of the official code that imports the operator; there it is called MSDA."""

ATTENTION = "MSDeformAttn"
"""The official class of the modules that call the operator."""

COMPILED = "compiled"
FAILED = "failed"

logger = logging.getLogger(__name__)


def provide_operator(device: torch.device | str = "cpu") -> str:
    """Makes ``import MultiScaleDeformableAttention`` work; call it before mask2former is imported.

    A compiled module of that name computes float32 on ``device`` if it gives the right numbers for a small input
    there. If not, a warning names it, and ours is used. Calling it again, also for other devices, is fine.

    Returns:
        What computes on this device in float32: "compiled", "numba", "triton" or "pytorch".

    Raises:
        InputError: mask2former was imported before, with a module that does not work on this device.
    """
    operator = sys.modules.get(NAME)
    if not isinstance(operator, Operator):
        operator = Operator(_import_compiled())
    path = operator.path(torch.device(device), torch.float32)
    bound = getattr(sys.modules.get(IMPORTER), "MSDA", operator)
    if bound is operator:
        sys.modules[NAME] = operator
    elif path != COMPILED:
        raise InputError(
            f"mask2former was imported with {_describe(bound)}, which does not work on {device}. "
            f"Call {__name__}.provide_operator() before the first import of mask2former."
        )
    return path


class AttentionWatch:
    """What computes the official attention modules of a model, from now on; a copied model has a watch of its own.

    Attributes:
        paths: for example {"numba"}. It holds "failed" once the operator has raised an error: the official code hides
            that and goes on with its slow ``grid_sample``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.paths: set[str] = set()
        for module in model.modules():
            if type(module).__name__ == ATTENTION:
                module.register_forward_hook(self)

    def __call__(self, *_: object) -> None:
        operator = sys.modules.get(NAME)
        if isinstance(operator, Operator) and operator.last is not None:
            self.paths.add(operator.last)


class Operator(ModuleType):
    """The module: the two functions of the official extension, for any device and float dtype."""

    def __init__(self, compiled: ModuleType | None) -> None:
        super().__init__(NAME, f"Provided by {__name__}.")
        self.__spec__ = ModuleSpec(NAME, loader=None)
        self.compiled: Any = compiled
        self.last: str | None = None
        """What computed the last forward call, or FAILED."""
        self._reported = False
        self._usable: dict[torch.device, bool] = {}

    def path(self, device: torch.device, *dtypes: torch.dtype) -> str:
        """What computes for tensors of these dtypes; the compiled module knows nothing below float32."""
        if self.compiled and device not in self._usable:
            problem = _problem(self.compiled, device)
            self._usable[device] = problem is None
            if problem:
                logger.warning(
                    "%s is not used on %s: %s", _describe(self.compiled), device, problem
                )
        if self._usable.get(device) and set(dtypes) == {torch.float32}:
            return COMPILED
        return deformable_attention_path(device, *dtypes)

    def ms_deform_attn_forward(
        self,
        value: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int,
    ) -> Tensor:
        """As :func:`deformable_attention`, with the sizes as an L×2 tensor.

        ``level_start_index`` follows from the sizes; it and ``im2col_step`` matter to a compiled module only.
        """
        tensors = (value, sampling_locations, attention_weights)
        path = self.path(value.device, *(tensor.dtype for tensor in tensors))
        with self._remembered(path):
            if path == COMPILED:
                value, locations, weights = (tensor.contiguous() for tensor in tensors)
                places = (spatial_shapes, level_start_index)
                output = self.compiled.ms_deform_attn_forward(
                    value, *places, locations, weights, im2col_step
                )
            else:
                output = deformable_attention(
                    value, spatial_shapes.tolist(), sampling_locations, attention_weights
                )
        return output

    def ms_deform_attn_backward(
        self,
        value: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        grad_output: Tensor,
        im2col_step: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients to value, locations and weights, each of its tensor's dtype."""
        tensors = (value, sampling_locations, attention_weights)
        path = self.path(value.device, *(tensor.dtype for tensor in tensors))
        if path != COMPILED:
            sizes = spatial_shapes.tolist()
            return deformable_attention_backward(
                grad_output, value, sizes, sampling_locations, attention_weights
            )
        value, locations, weights = (tensor.contiguous() for tensor in tensors)
        places = (spatial_shapes, level_start_index)
        found = self.compiled.ms_deform_attn_backward(
            value, *places, locations, weights, grad_output.contiguous(), im2col_step
        )
        return tuple(found)

    @contextmanager
    def _remembered(self, path: str) -> Iterator[None]:
        """Note whether the forward call within has succeeded, and report the first that has not."""
        self.last = FAILED
        try:
            yield
        except BaseException:  # whatever it is, it is raised again: only the caller hides it
            if not self._reported:
                logger.exception(
                    "%s: the official Mask2Former hides this error and computes slowly", NAME
                )
            self._reported = True
            raise
        self.last = path


def _import_compiled() -> ModuleType | None:
    """The module that is installed under the name, if any."""
    try:
        return importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            logger.warning("The installed %s cannot be imported: %s", NAME, error)
    except (ImportError, OSError) as error:  # made for another PyTorch or CUDA
        logger.warning("The installed %s cannot be imported: %s", NAME, error)
    return None


@torch.inference_mode(False)
def _problem(module: Any, device: torch.device) -> str | None:
    """Why the module cannot be used on the device, found by a small input in both directions; None if it can.

    Outside of inference mode, where the first call may come from: what is made there can have no gradient.
    """
    shapes = [(3, 4), (2, 2)]
    value = torch.arange(2 * 16 * 2 * 4).sin().view(2, 16, 2, 4)
    locations = (
        torch.arange(2 * 3 * 2 * 2 * 2 * 2).cos().mul(0.7).add(0.5).view(2, 3, 2, 2, 2, 2)
    )  # some outside
    weights = locations.prod(-1)
    gradient = torch.arange(2 * 3 * 8).cos().view(2, 3, 8)
    exact = [tensor.double().requires_grad_() for tensor in (value, locations, weights)]
    with torch.enable_grad():
        expected = [deformable_attention_reference(exact[0], shapes, *exact[1:])]
        expected += torch.autograd.grad(expected[0], exact, gradient.double())
    places = (torch.tensor(shapes, device=device), torch.tensor([0, 12], device=device))
    inputs = [value.to(device), *places, locations.to(device), weights.to(device)]
    try:
        found = [module.ms_deform_attn_forward(*inputs, 128)]
        found += module.ms_deform_attn_backward(*inputs, gradient.to(device), 128)
        for name, ours, theirs in zip(
            ("output", "to value", "to locations", "to weights"), expected, found, strict=True
        ):
            if ours.shape != theirs.shape or not torch.allclose(
                theirs.cpu().double(), ours, rtol=1e-4, atol=1e-4
            ):
                return f"wrong numbers ({name}) for a small input"
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return None


def _describe(module: ModuleType) -> str:
    return f"the module {NAME} at {getattr(module, '__file__', None) or 'no file'}"
