"""The command ``ablate``, which runs sub-commands; imports nothing heavy, so that help is quick."""

import ast
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from encoder_ablations import __version__
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import CannotContinue, InputError, nearest
from encoder_ablations.utils.files import UNWRITABLE
from encoder_ablations.utils.interrupts import StoppedWatching, exit_code, stopping_at_signals
from encoder_ablations.utils.texts import one_line, shortened

PACKAGE = "encoder_ablations.experiments.commands"
COMMANDS = Path(__file__).parent / "commands"
"""One file a command: its name is the command's, its docstring's first line says what it does."""

REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, *UNWRITABLE)
"""Errors of files that a user has to put right."""

LEFT_OUT = 2
"""The exit code where bad input was left out and everything else was worked on."""

USAGE = """usage: ablate COMMAND [options]

How much does a pretrained vision encoder help segmentation on my data, which one, at what cost,
and how sure are we?

commands:
{commands}

examples:
  ablate demo
  ablate encoders
  ablate run configs/studies/camvid_small.yaml
  ablate train --encoder dinov2_b14 --segmenter mask2former --dataset my_data.yaml recipe.steps=5000
  ablate report outputs/camvid_small

'ablate COMMAND --help' explains a command, 'ablate --version' says which version this is.
"""


EMPTY = (
    "error: an argument is empty or holds the character U+0000. "
    "Write its value; an empty one is often a variable of the shell that is not set."
)


NO_MEMORY = (
    "stopped: the memory that this process may use is full. Files that it has written are whole, "
    "others are as before. Give it more memory, or end other programs."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        The exit code, by one rule for all commands: 0 = done, 2 = bad input, also where only a
        part of it was left out, 1 = a failure inside, also where a run of a study failed. 1 if
        both happened. Stopped by a signal: 128 + its number, which is 130 for Ctrl-C, 143 for
        SIGTERM and 129 for SIGHUP.
    """
    # OpenMP's threads otherwise spin while they wait, which slows down whatever else is running
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    quiet_imports()
    if argv is None:
        argv = sys.argv[1:]
    name, *arguments = argv or ["--help"]
    commands = list(map(_name, _modules()))
    if name in ("-h", "--help"):
        listed = "\n".join(f"  {each:<10} {text}" for each, text in summaries().items())
        print(USAGE.format(commands=listed))
        return 0
    if name == "--version":
        print(f"ablate {__version__}")
        return 0
    if name not in commands:
        hint, allowed = nearest(name, commands), ", ".join(commands)
        print(
            f"ablate: unknown command '{shortened(name)}'.{hint} Allowed: {allowed}.",
            file=sys.stderr,
        )
        return 2
    if "" in arguments or any("\0" in each for each in arguments):
        print(EMPTY, file=sys.stderr)
        return 2
    with garbage.paused():
        module = importlib.import_module(f"{PACKAGE}.{name.replace('-', '_')}")
    return command(module.main, arguments, getattr(module, "RESUMES", False))


def _modules() -> list[Path]:
    return sorted(COMMANDS.glob("[a-z]*.py"))


def _name(module: Path) -> str:
    return module.stem.replace("_", "-")


def summaries() -> dict[str, str]:
    """Return what each command does, by its name, without importing any of them."""
    found = {}
    for path in _modules():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first_line = docstring.partition("\n")[0]
        text = first_line.partition("``: ")[2]
        found[_name(path)] = text.rstrip(".")
    return found


def quiet_imports() -> None:
    """Ignore warnings of libraries about their own code: users could not act on them."""
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    # this one is about the official Mask2Former
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.*", category=FutureWarning)


def command(run: Callable[[Sequence[str]], int], argv: Sequence[str], resumes: bool = True) -> int:
    """Run a sub-command's ``main`` and return the exit code; bad input becomes one line and 2.

    Args:
        run: the sub-command's ``main``.
        argv: its arguments.
        resumes: it can go on where a signal has stopped it.
    """
    try:
        with stopping_at_signals():
            code = run(argv)
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        _close_output()
        return 0
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return _tell_refusal(error)
    except MemoryError:
        print(NO_MEMORY, file=sys.stderr)
        return 1
    except CannotContinue as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        _tell_stop(stop, resumes)
        return exit_code(stop)


def _close_output() -> None:
    """Send the rest of what is printed nowhere; Python would try once more to write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell_refusal(error: OSError) -> int:
    where = "the output cannot be written"
    if error.filename is None:
        _close_output()
    else:
        where = one_line(error.filename)
    print(f"error: {where}: {error.strerror}.", file=sys.stderr)
    return 2


def _tell_stop(stop: KeyboardInterrupt, resumes: bool) -> None:
    if isinstance(stop, StoppedWatching):
        print("stopped watching.", file=sys.stderr)
        return
    again = "begins anew"
    if resumes:
        again = "goes on where this one ended"
    print(f"stopped; the same command {again}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
