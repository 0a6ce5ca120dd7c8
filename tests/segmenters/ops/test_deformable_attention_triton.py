"""The Triton kernels without a GPU: their numbers through Triton's interpreter, and that they
compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

CASES = Path(__file__).with_name("interpreted_triton.py")
COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from encoder_ablations.segmenters.ops import deformable_attention_triton as module

capability, kind, places, dim, one = sys.argv[1:]
numbers = ("cells", "queries", "heads", "levels", "points")
constants = {"DIM": int(dim), "BLOCK": triton.next_power_of_2(int(dim)), "ROWS": module.ROWS}
constants |= {name: 1 for name in numbers if one == "one"}  # Triton makes arguments of 1 constant
types = dict.fromkeys(["value", "output", "gradient"], "*" + kind)
types |= {"sizes": "*i32", "to_value": "*fp32"}
types |= dict.fromkeys(["locations", "weights", "to_locations", "to_weights"], "*" + places)
types |= dict.fromkeys(numbers, "i32") | dict.fromkeys(constants, "constexpr")
for kernel in (module._forward, module._backward):
    names = kernel.arg_names
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, {name: types[name] for name in names}, values)
    target = GPUTarget("cuda", int(capability), 32)
    made = triton.compile(source, target=target, options={"num_warps": 4}).asm
    assert made["cubin"]
    # atomics that order nothing else: each would otherwise wait for all memory before it
    assert "acq_rel" not in made["ptx"]
    assert ("relaxed" in made["ptx"]) == (kernel is module._backward)
"""


def python(*arguments, **variables):
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_through_the_interpreter():
    """In a process of its own: Triton reads the variable when the kernels are defined."""
    python("-m", "pytest", "-p", "no:cacheprovider", str(CASES), TRITON_INTERPRET="1")


@pytest.mark.parametrize(
    "arguments",
    [
        "80 bf16 fp32 32 many",
        pytest.param("75 fp16 fp16 17 many", marks=pytest.mark.slow),
        pytest.param("90 fp32 fp32 32 one", marks=pytest.mark.slow),
    ],
)
def test_compiles(arguments, tmp_path):
    """The compiler refuses things that the interpreter takes."""
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    python(str(script), *arguments.split(), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
