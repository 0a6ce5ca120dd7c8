"""``ablate federate``: federated training between machines: the server, or one of its clients."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.experiments import options
from encoder_ablations.experiments.federation.connection import (
    ServerConnection,
    add_client_options,
    add_server_options,
    read_client,
    read_server,
)
from encoder_ablations.experiments.federation.flower import require_flower
from encoder_ablations.experiments.runs.execution import Execution, follows_training
from encoder_ablations.experiments.runs.planned_run import PlannedRun, locate
from encoder_ablations.experiments.studies.study import OUTPUTS
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.progress import Bar

if TYPE_CHECKING:
    from encoder_ablations.experiments.federation.members import Channel, Members
    from encoder_ablations.experiments.runs.record import RunRecord

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it: the server with the next round."""

EXAMPLES = """  ablate federate server run.yaml --data evaluation --insecure
  ablate federate client run.yaml --client 0 --data images --server 127.0.0.1:8080 --insecure
  ablate federate server my_study.yaml seeds=[0] --address 0.0.0.0:8080 --certificate server.pem \\
      --key server.key --ca-certificate ca.pem
  ablate federate client my_study.yaml seeds=[0] --client 1 --data /data/mine \\
      --server server.example.org:8080 --ca-certificate ca.pem"""

ABOUT = """Trains one federated run between machines. The server combines models and evaluates
them; each client trains on the images of its own folder. Both are given the same run. Messages are
carried by Flower, which needs an environment of its own: docs/federated.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate federate --help``."""
    sides = {"server": _server, "client": _client}
    if argv is None:
        argv = sys.argv[1:]
    about = [ABOUT, _server_parser().format_help(), _client_parser().format_help()]
    parser = options.make_parser("federate", "\n\n".join(about), EXAMPLES)
    parser.add_argument("side", metavar="server|client", help="what this process is")
    # what follows is for the parser of the side
    side = parser.parse_args(argv[:1]).side
    if side not in sides:
        raise unknown("side", side, sides)
    return sides[side](argv[1:])


def _parser(side: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ablate federate {side}", description=about)
    parser.add_argument(
        "run", help="the config.yaml of a run; or a study that has one federated run"
    )
    options.add_overrides(parser, "recipe.steps=5000")
    options.add_execution_options(parser)
    return parser


def _server_parser() -> argparse.ArgumentParser:
    parser = _parser("server", "Combines the models of clients and evaluates them.")
    add_server_options(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="the dataset's folder here (default: that of the YAML); its training images are not "
        "read and need not be there",
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="how long to wait for all clients to come (default: as long as it takes)",
    )
    options.add_output_option(parser, "outputs/federate")
    return parser


def _server(argv: Sequence[str]) -> int:
    arguments = _server_parser().parse_intermixed_args(argv)
    connection, execution = read_server(arguments), options.read_execution(arguments)
    require_flower()
    from encoder_ablations.experiments.federation.chosen_run import chosen_run
    from encoder_ablations.experiments.federation.limits import check_deployable
    from encoder_ablations.experiments.federation.members import Members
    from encoder_ablations.experiments.federation.messages import fingerprint_of

    spec = chosen_run(arguments.run, arguments.overrides, arguments.data)
    federation = check_deployable(spec)
    run = locate([spec], arguments.output or OUTPUTS / "federate")[0]
    if run.problem is not None:
        raise InputError(run.problem)
    print(f"run {spec.run_id}: {run.state}, in {run.folder}", flush=True)
    if run.record is not None and run.record.status == "finished":
        return _tell(run.record, run.folder)

    def members(connected: "Callable[[], Mapping[str, Channel]]") -> "Members":
        return Members(federation.clients, fingerprint_of(spec), connected, _say)

    return _serve(run, execution, connection, members, arguments.wait)


def _serve(
    run: PlannedRun,
    execution: Execution,
    connection: ServerConnection,
    gather: "Callable[[Callable[[], Mapping[str, Channel]]], Members]",
    seconds: float | None,
) -> int:
    """Listen, wait for all clients, and compute the run with them."""
    from encoder_ablations.experiments.federation.flower_server import listen
    from encoder_ablations.experiments.workers.locks import holding

    def work(connected: "Callable[[], Mapping[str, Channel]]") -> int:
        members = gather(connected)
        _say(f"listening at {connection.address} for {members.clients} clients")
        try:
            members.wait(seconds)
            record = _train(run, execution, members)
        except BaseException as problem:
            members.dismiss("stopped", str(problem) or type(problem).__name__)
            raise
        members.dismiss("finished")
        return _tell(record, run.folder)

    with holding(run.folder, seconds=2.0) as mine:
        if not mine:
            raise InputError(f"another process computes the run in {run.folder} now.")
        return listen(connection, work)


def _train(run: PlannedRun, execution: Execution, members: "Members") -> "RunRecord":
    """Compute the run below a progress bar."""
    from encoder_ablations.experiments.federation.server import serve

    with Bar(total=run.spec.steps, unit="step", delay=0, leave=True) as bar:

        def advance(step: int, status: str) -> None:
            bar.update(step - bar.n)
            if follows_training(status):
                bar.tell(status)
            else:
                bar.set_postfix_str(status, refresh=False)

        return serve(run.spec, run.folder, execution, members, advance)


def _tell(record: "RunRecord", folder: Path) -> int:
    """Print what has become of a run, and return the exit code."""
    if record.error is not None:
        print(f"failed: {record.error.text}", file=sys.stderr)
        return 1
    print(f"{record.score}\nrecord: {folder / 'record.json'}")
    return 0


def _client_parser() -> argparse.ArgumentParser:
    parser = _parser("client", "Trains on the images of its own folder when the server asks.")
    add_client_options(parser)
    parser.add_argument(
        "--client", type=int, required=True, metavar="N", help="its number, from 0; each has one"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the client's own folder, laid out as the dataset; only its training images are read",
    )
    return parser


def _client(argv: Sequence[str]) -> int:
    arguments = _client_parser().parse_intermixed_args(argv)
    connection, execution = read_client(arguments), options.read_execution(arguments)
    require_flower()
    from encoder_ablations.engine.devices import computing, make_accelerator
    from encoder_ablations.experiments.federation.chosen_run import chosen_run
    from encoder_ablations.experiments.federation.client import FederatedClient
    from encoder_ablations.experiments.federation.flower_client import take_part

    spec = chosen_run(arguments.run, arguments.overrides, arguments.data)
    accelerator = make_accelerator(execution.device)
    with computing(accelerator.device, spec.recipe.precision, execution.deterministic):
        own = FederatedClient(spec, arguments.client, execution, accelerator, _say)
        _say(f"client {own.number}: {own.facts.images} images, server {connection.address}")
        take_part(own, connection)
    print(f"done: {own.rounds} of {own.federation.rounds} rounds")
    return 0


def _say(line: str) -> None:
    # whoever follows a file should see it at once
    print(line, flush=True)
