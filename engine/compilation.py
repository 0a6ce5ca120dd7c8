"""Training with layers that ``torch.compile`` has turned into fewer kernels.

Regions are compiled, not the whole model: layers that repeat share one program, so that compiling
takes seconds, and what depends on data (matching, points of the loss) stays as it is. Programs are
made for the sizes of the training crops alone. Evaluation, whose images have many sizes, and the
measurement of cost take the layers as they are written.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakSet

import torch
from torch import nn

_compiled: WeakSet[nn.Module] = WeakSet()


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Let the repeated layers of a model be compiled when they are first called.

    Parameters and their names stay as they are.

    Args:
        model: a segmenter.
        backend: of ``torch.compile``.
    """
    for layer in repeated_layers(model):
        layer.compile(backend=backend, dynamic=False)
    _compiled.add(model)


def repeated_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of each list or sequence of a model whose members are of one class.

    They are the blocks of transformers and of convolutional networks. Layers within them are not
    yielded again.
    """
    for child in model.children():
        members = list(child.children())
        of_one_class = len({type(each) for each in members}) == 1
        listed = isinstance(child, (nn.ModuleList, nn.Sequential))
        if listed and of_one_class and len(members) > 1:
            yield from members
        else:
            yield from repeated_layers(child)


def as_written(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which nothing that was compiled is used; for evaluation."""
    if model not in _compiled:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
