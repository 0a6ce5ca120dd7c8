"""Training with layers that ``torch.compile`` has turned into fewer kernels.

Regions are compiled, not the whole model: layers that repeat share one program, so that compiling
takes seconds, and what depends on data (matching, points of the loss) stays as it is. Programs are
made for the sizes of the training crops alone. Evaluation, whose images have many sizes, and the
measurement of cost take the layers as they are written.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Let the repeated layers of a model be compiled when they are first called.

    Parameters and their names stay as they are.

    Args:
        model: a segmenter.
        backend: of ``torch.compile``.
    """
    for layer in repeated_layers(model):
        layer.compile(backend=backend, dynamic=False)


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


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Within the block no compiled layer of a model is used; for evaluation, and for tracing.

    The layers' compiled calls are taken out: PyTorch traces no layer that has one, whatever
    ``torch.compiler.set_stance`` says.
    """
    layers = [each for each in model.modules() if each._compiled_call_impl is not None]
    calls = [each._compiled_call_impl for each in layers]
    for layer in layers:
        layer._compiled_call_impl = None
    try:
        yield
    finally:
        for layer, call in zip(layers, calls, strict=True):
            layer._compiled_call_impl = call
