"""A user's own module as a body, and the checks of what it says about its maps."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import Body, Normalization
from encoder_ablations.encoders.blocks import Blocks
from encoder_ablations.utils.errors import InputError

PROBES = ((2, 3), (5, 3))
"""Sides of the images that a new body is tried on, in steps of its padding: even and odd."""


class CustomBody(Body):
    """Any module that returns a list of maps and says what they are.

    The module has the attributes ``widths`` and ``reductions`` of a :class:`~..base.Body`, and
    ``mean`` and ``std`` for R, G, B in 0..1 (or ``normalization``). With ``depth_of(name)`` and
    ``max_depth`` it also says in which block a parameter lies; otherwise it has no blocks. With
    ``as_blocks()`` it gives :class:`~..blocks.Blocks` for the heads that run them.

    Args:
        module: the user's.
        where: begins messages.
        code: SHA-256 of the file that the module's code comes from.

    Raises:
        InputError: it is no module, or an attribute is missing or has an impossible value.

    Attributes:
        only_last: only the last map is given.
    """

    def __init__(self, module: object, where: str, code: str) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{where} returned {type(module).__name__}; it must return a torch.nn.Module whose "
                "forward gives a list of maps."
            )
        self.model: Any = module
        self.where = where
        self.code = code
        self.normalization = _normalization(module, where)
        self.widths = tuple(_numbers(module, "widths", where))
        self.reductions = tuple(map(float, _numbers(module, "reductions", where)))
        self.blocks = _blocks(module, where)
        self.unread: frozenset[str] = frozenset()
        self.weights = ""
        self.only_last = False
        if len(self.widths) != len(self.reductions):
            raise InputError(
                f"{where}: widths {self.widths} and reductions {self.reductions} must be equally "
                "many, one for each map."
            )
        if list(self.reductions) != sorted(self.reductions):
            raise InputError(f"{where}: reductions {self.reductions} must be finest first.")
        if not all(isinstance(width, int) for width in self.widths):
            raise InputError(f"{where}: widths {self.widths} must be whole numbers.")

    def keep_last(self) -> None:
        """Give only the last map from now on."""
        self.only_last = True
        self.widths, self.reductions = self.widths[-1:], self.reductions[-1:]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, see :class:`~..base.Body`."""
        maps = list(self.model(images))
        if self.only_last:
            return maps[-1:]
        return maps

    def as_blocks(self) -> Blocks:
        """Return the module's own blocks, see :class:`~..base.Body`."""
        if not hasattr(self.model, "as_blocks"):
            return super().as_blocks()
        blocks = self.model.as_blocks()
        if not isinstance(blocks, Blocks):
            raise InputError(
                f"{self.where}: as_blocks() returned {type(blocks).__name__}; it must return "
                "encoder_ablations.encoders.blocks.Blocks."
            )
        return blocks

    def tokens(self, height: int, width: int) -> None:
        """Return None: nothing tells how many tokens the module has."""
        return

    def depth_of(self, parameter: str) -> int:
        """Return the depth that the module gives; ``max_depth`` if it has no blocks."""
        if self.blocks:
            return int(self.model.depth_of(parameter.removeprefix("model.")))
        return self.max_depth

    @property
    def max_depth(self) -> int:
        """The number of blocks plus one."""
        return self.blocks + 1

    def reads(self, parameter: str) -> bool:
        """Return whether a map depends on a parameter, as :meth:`try_out` has found."""
        return parameter not in self.unread

    def facts(self) -> dict[str, object]:
        """Return the properties, see :class:`~..base.Body`.

        ``code_sha256`` is of the file of the user's module, ``weights_sha256`` of all of its
        tensors before training.
        """
        return super().facts() | {
            "module": type(self.model).__name__,
            "code_sha256": self.code,
            "weights_sha256": self.weights,
        }

    def try_out(self, step: int) -> None:
        """Compare the maps of small images with ``widths`` and ``reductions``.

        Args:
            step: images of a run have sides that are multiples of it.

        Raises:
            InputError: the first difference, or a map with infinite or undefined values.
        """
        self.eval()
        named = dict(self.named_parameters())
        learning = {name: value for name, value in named.items() if value.requires_grad}
        for rows, columns in PROBES:
            images = torch.randn(2, 3, rows * step, columns * step)
            with torch.enable_grad():
                maps = self._checked(self.model(images), rows * step, columns * step)
                total = sum((each.sum() for each in maps), torch.zeros(()))
        self.weights = digest_of(self.model)
        if total.requires_grad:
            found = torch.autograd.grad(total, list(learning.values()), allow_unused=True)
            pairs = zip(learning, found, strict=True)
            self.unread = frozenset(name for name, gradient in pairs if gradient is None)
        self.train()

    def _checked(self, given: object, height: int, width: int) -> list[Tensor]:
        """Return the maps that the module gave for images 2×3×height×width."""
        image = f"{self.where}: for images 2×3×{height}×{width}"
        if not isinstance(given, list | tuple):
            raise InputError(
                f"{image} it gave {type(given).__name__}; forward must return a list of maps."
            )
        maps = list(given)
        if self.only_last:
            maps = maps[-1:]
        if len(maps) != len(self.widths):
            raise InputError(
                f"{image} it gave {len(maps)} maps, but widths and reductions are of "
                f"{len(self.widths)}."
            )
        for index, (each, channels, reduction) in enumerate(
            zip(maps, self.widths, self.reductions, strict=True)
        ):
            wanted = (2, channels, math.ceil(height / reduction), math.ceil(width / reduction))
            _check_map(each, wanted, f"{image} map {index}")
        return maps


def _check_map(given: object, wanted: tuple[int, ...], where: str) -> None:
    """Check type, shape and values of one map."""
    if not isinstance(given, Tensor):
        raise InputError(f"{where} is {type(given).__name__}, not a tensor.")
    if given.dtype != torch.float32:
        raise InputError(f"{where} is {given.dtype}, not torch.float32.")
    if tuple(given.shape) != wanted:
        shapes = ["×".join(map(str, shape)) for shape in (given.shape, wanted)]
        raise InputError(
            f"{where} is {shapes[0]}, but its widths and reductions say {shapes[1]}. Correct them, "
            "or the module."
        )
    if not given.isfinite().all():
        raise InputError(f"{where} holds infinite or undefined values.")


def digest_of(module: nn.Module) -> str:
    """Return the SHA-256 of the names, types, shapes and values of all tensors of a module."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _attribute(module: nn.Module, name: str, where: str) -> Any:
    if not hasattr(module, name):
        raise InputError(
            f"{where} returned a {type(module).__name__} without '{name}'. It needs widths and "
            "reductions (of every map), mean and std (of R, G, B in 0..1)."
        )
    return getattr(module, name)


def _numbers(module: nn.Module, name: str, where: str) -> Sequence[Any]:
    """Return an attribute that is a list of positive numbers."""
    value = _attribute(module, name, where)
    numbers = isinstance(value, list | tuple) and len(value) > 0
    if not numbers or not all(isinstance(each, int | float) and each > 0 for each in value):
        raise InputError(
            f"{where}: '{name}' must be a list of numbers greater than 0, not {value!r}."
        )
    return list(value)


def _normalization(module: nn.Module, where: str) -> Normalization:
    """Return what the module states; a :class:`Body` of this package has it in one attribute."""
    stated = getattr(module, "normalization", None)
    if isinstance(stated, Normalization):
        return stated
    mean, std = _triple(module, "mean", where), _triple(module, "std", where)
    if max(*mean, *std) > 1 or min(std) <= 0:
        raise InputError(
            f"{where}: mean {mean} and std {std} must be of R, G, B in 0..1, and std greater than "
            "0. Divide numbers of 0..255 by 255."
        )
    return Normalization(mean, std)


def _triple(module: nn.Module, name: str, where: str) -> tuple[float, float, float]:
    value = _attribute(module, name, where)
    numbers = isinstance(value, list | tuple) and len(value) == 3
    if not numbers or not all(isinstance(each, int | float) for each in value):
        raise InputError(f"{where}: '{name}' must be three numbers, for R, G, B in 0..1.")
    red, green, blue = map(float, value)
    return red, green, blue


def _blocks(module: nn.Module, where: str) -> int:
    """Return how many blocks a module has; 0 if it does not say."""
    depth_of = getattr(type(module), "depth_of", None)
    if depth_of is None or depth_of is Body.depth_of:
        return 0
    depth = _attribute(module, "max_depth", where)
    if not isinstance(depth, int) or depth < 2:
        raise InputError(
            f"{where}: max_depth is the number of blocks plus one, so 2 or more, not {depth!r}."
        )
    return depth - 1
