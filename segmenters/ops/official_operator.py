"""The operator that the official Mask2Former (Cheng et al., CVPR 2022) imports, compiled or not.

Its pixel decoder does ``import MultiScaleDeformableAttention``, a CUDA extension that does not
compile on current PyTorch. :func:`provide_operator` puts a module of that name into
``sys.modules``. It does so deliberately, and nothing else does: the import is the only way in that
the unmodified code offers. The official code itself is not changed.
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

from encoder_ablations.segmenters.ops import deformable_attention_pytorch
from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_backward,
    deformable_attention_path,
)
from encoder_ablations.utils.errors import InputError

NAME = "MultiScaleDeformableAttention"
IMPORTER = "mask2former.modeling.pixel_decoder.ops.functions.ms_deform_attn_func"
"""The module of the official code that imports the operator, under the name MSDA."""

ATTENTION = "MSDeformAttn"
"""The official class of the modules that call the operator."""

COMPILED = "compiled"
FAILED = "failed"

logger = logging.getLogger(__name__)


def provide_operator(device: torch.device | str = "cpu") -> str:
    """Make ``import MultiScaleDeformableAttention`` work; call it before mask2former is imported.

    A compiled module of that name computes float32 on ``device`` if it gives the right numbers for
    a small input there. Otherwise a warning names it, and ours is used. Calling it again, also for
    other devices, is fine.

    Returns:
        What computes on this device in float32: "compiled", "numba", "triton" or "pytorch".

    Raises:
        InputError: mask2former was imported before, with a module that does not work on this
            device.
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
    """Notes what computes the official attention modules of a model, from now on.

    A copied model has a watch of its own.

    Attributes:
        paths: for example {"numba"}. It holds "failed" once the operator has raised an error: the
            official code hides that and goes on with its slow ``grid_sample``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.paths: set[str] = set()
        for module in model.modules():
            if type(module).__name__ == ATTENTION:
                module.register_forward_hook(self)

    def __call__(self, *_: object) -> None:
        """Note what the operator did last; called after each attention module."""
        operator = sys.modules.get(NAME)
        if isinstance(operator, Operator) and operator.last is not None:
            self.paths.add(operator.last)


class Operator(ModuleType):
    """The module with both functions of the official extension, for any device and float dtype."""

    def __init__(self, compiled: ModuleType | None) -> None:
        super().__init__(NAME, f"Provided by {__name__}.")
        self.__spec__ = ModuleSpec(NAME, loader=None)
        self.compiled: Any = compiled
        self.last: str | None = None
        """What computed the last forward call, or ``FAILED``."""
        self._reported = False
        self._usable: dict[torch.device, bool] = {}
        self._shapes: Tensor | None = None
        self._known: list[tuple[int, int]] = []

    def path(self, device: torch.device, *dtypes: torch.dtype) -> str:
        """Return what computes for tensors of these dtypes; the compiled module takes float32."""
        if set(dtypes) == {torch.float32} and self._compiled_works_on(device):
            return COMPILED
        return deformable_attention_path(device, *dtypes)

    def _compiled_works_on(self, device: torch.device) -> bool:
        """Return whether the compiled module is right on a device; test it at the first call."""
        if self.compiled and device not in self._usable:
            problem = _problem(self.compiled, device)
            self._usable[device] = problem is None
            if problem:
                name = _describe(self.compiled)
                logger.warning("%s is not used on %s: %s", name, device, problem)
        return self._usable.get(device, False)

    def ms_deform_attn_forward(
        self,
        value: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int,
    ) -> Tensor:
        """Return B×Q×(M·D), see :func:`deformable_attention`.

        Args:
            value: B×S×M×D.
            spatial_shapes: L×2, height and width of each level.
            level_start_index: L, follows from the sizes; for a compiled module only.
            sampling_locations: B×Q×M×L×P×2.
            attention_weights: B×Q×M×L×P.
            im2col_step: for a compiled module only.
        """
        tensors = (value, sampling_locations, attention_weights)
        path = self.path(value.device, *(tensor.dtype for tensor in tensors))
        with self._remembered(path):
            if path != COMPILED:
                sizes = self._sizes(spatial_shapes)
                return deformable_attention(value, sizes, sampling_locations, attention_weights)
            value, locations, weights = (tensor.contiguous() for tensor in tensors)
            output: Tensor = self.compiled.ms_deform_attn_forward(
                value, spatial_shapes, level_start_index, locations, weights, im2col_step
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
        """Return the gradients to value, locations and weights, each of its tensor's dtype.

        Args:
            value: see :meth:`ms_deform_attn_forward`, also for the other arguments.
            spatial_shapes: the levels' sizes.
            level_start_index: their first cells.
            sampling_locations: the points.
            attention_weights: the weights.
            grad_output: B×Q×(M·D).
            im2col_step: for a compiled module only.
        """
        tensors = (value, sampling_locations, attention_weights)
        path = self.path(value.device, *(tensor.dtype for tensor in tensors))
        if path != COMPILED:
            sizes = self._sizes(spatial_shapes)
            return deformable_attention_backward(
                grad_output, value, sizes, sampling_locations, attention_weights
            )
        value, locations, weights = (tensor.contiguous() for tensor in tensors)
        places = (spatial_shapes, level_start_index)
        found = self.compiled.ms_deform_attn_backward(
            value, *places, locations, weights, grad_output.contiguous(), im2col_step
        )
        return tuple(found)

    def _sizes(self, shapes: Tensor) -> list[tuple[int, int]]:
        """Return the levels' sizes; all layers of a forward and backward pass share one reading.

        Reading them waits for a GPU. The tensor that was read last is kept, so no other one has its
        memory.
        """
        last = self._shapes
        if last is None or (last.data_ptr(), last.shape) != (shapes.data_ptr(), shapes.shape):
            self._shapes, self._known = shapes, shapes.tolist()
        return self._known

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
    """Return the installed module of this name; None without one."""
    try:
        return importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            logger.warning("The installed %s cannot be imported: %r", NAME, error)
    # one made for another PyTorch or CUDA may raise anything, and is not needed
    except (Exception, SystemExit) as error:  # noqa: BLE001
        logger.warning("The installed %s cannot be imported: %r", NAME, error)
    return None


@torch.inference_mode(False)
def _problem(module: Any, device: torch.device) -> str | None:
    """Return why the module cannot be used on the device; None if it can.

    A small input is computed in both directions and compared with plain PyTorch in float64. It is
    made outside of inference mode, where the first call may come from: what is made within has no
    gradient.
    """
    shapes = [(3, 4), (2, 2)]
    value = torch.arange(2 * 16 * 2 * 4).sin().view(2, 16, 2, 4)
    # some of the locations lie outside
    locations = torch.arange(2 * 3 * 2 * 2 * 2 * 2).cos().mul(0.7).add(0.5).view(2, 3, 2, 2, 2, 2)
    weights = locations.prod(-1)
    gradient = torch.arange(2 * 3 * 8).cos().view(2, 3, 8)
    exact = [tensor.double().requires_grad_() for tensor in (value, locations, weights)]
    with torch.enable_grad():
        expected = [deformable_attention_pytorch.forward(exact[0], exact[1], exact[2], shapes)]
        expected += torch.autograd.grad(expected[0], exact, gradient.double())
    places = (torch.tensor(shapes, device=device), torch.tensor([0, 12], device=device))
    inputs = [value.to(device), *places, locations.to(device), weights.to(device)]
    names = ("output", "to value", "to locations", "to weights")
    try:
        found = [module.ms_deform_attn_forward(*inputs, 128)]
        found += module.ms_deform_attn_backward(*inputs, gradient.to(device), 128)
        for name, ours, theirs in zip(names, expected, found, strict=True):
            if not _close(theirs, ours):
                return f"wrong numbers ({name}) for a small input"
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        return f"{type(error).__name__}: {first_line}"
    return None


def _close(found: Tensor, expected: Tensor) -> bool:
    numbers = found.cpu().double()
    return found.shape == expected.shape and torch.allclose(numbers, expected, 1e-4, 1e-4)


def _describe(module: ModuleType) -> str:
    return f"the module {NAME} at {getattr(module, '__file__', 'no file')}"
