"""Federated training on the loop of central training: clients take their steps one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.callbacks import Callback
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import Client, client_step, make_clients
from encoder_ablations.engine.training.federated.rounds import Rounds
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.loop import Advance, Trainer
from encoder_ablations.engine.training.schedule import rate_factor, set_rates
from encoder_ablations.engine.training.steps import StepSetup
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.files import StorageError


@dataclass(frozen=True)
class Federation:
    """The settings of a federated training, and the training images of each client."""

    spec: FederationSpec
    data: Sequence[TrainingData]


class FederatedTrainer(Trainer):
    """Trains one global model in rounds.

    In a round each client begins with the global model and takes ``local_steps`` steps on its own
    images; then the server combines the models. ``progress.step`` counts the steps of a client, so
    that learning rate, evaluations and checkpoints follow the recipe as in central training. Step t
    of a client takes batch t of its own data order; a client that sits out a round skips those
    batches.

    A client's steps are repeated as a whole where a killed run goes on: every checkpoint is that of
    the moment after a client or a round.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        data: TrainingData,
        federation: Federation,
        recipe: Recipe,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        workers: int = 0,
        store: FeatureStore | None = None,
        run_id: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Prepare everything, see :class:`Trainer`.

        Args:
            segmenter: the model that all clients begin with.
            data: the images of all clients together, and those to validate on.
            federation: the settings, and the images of each client.
            recipe: how each client is trained.
            seed: of the run.
            folder: where checkpoints, curves and events lie.
            accelerator: the device.
            workers: processes that load data; 0 = this one.
            store: where a frozen body's features are kept; None = computed every time.
            run_id: whose checkpoints ``folder`` holds; None = the run that the folder is named by.
            callbacks: called after the built-in ones.

        Raises:
            InputError: several processes, a recipe that does not fit, or a setting that this model
                does not allow.
        """
        if accelerator.num_processes > 1:
            raise InputError(
                f"federation: {accelerator.num_processes} processes share this run, but clients "
                "are computed by one process. Start it without torchrun."
            )
        federation.spec.check_recipe(recipe)
        step = client_step(federation.spec)
        place = (folder, accelerator, workers, store, run_id, callbacks)
        super().__init__(segmenter, data, recipe, seed, *place, step)
        self.clients = make_clients(federation.data, seed)
        self.local_steps = federation.spec.steps_per_round(recipe)
        setup = StepSetup(self.segmenter, self.optimizer, recipe, accelerator)
        self.rounds = Rounds(federation.spec, self.clients, seed, setup, self.step)
        self.checkpoint = self._last_checkpoint({"rounds": self.rounds})

    def _train(self, advance: Advance) -> None:
        self.agreement.restart()
        while not self._finished:
            start = self.progress.step
            for client in self.rounds.waiting():
                self._client(client, start, advance)
            self._end_round(start)
            self._after_round(start)

    def _client(self, client: Client, start: int, advance: Advance) -> None:
        """Let a client take the steps of a round; one that fails is left out of it.

        Raises:
            Stopped: this process was interrupted; what the client has learnt is discarded.
        """
        self.progress.step = start
        self.rounds.begin(client)
        end = start + self.local_steps
        data = (self.recipe, client.seed, start, self.accelerator, self.workers, end)
        batches = iter(client.data.batches(*data))
        losses, terms = [], []
        for _ in range(self.local_steps):
            try:
                losses.append(self._step(next(batches), client.seed))
            except (CannotContinue, StorageError):
                raise
            except Exception as error:  # noqa: BLE001 - recorded; the other clients go on
                self.progress.step = start
                self.rounds.fail(client, error)
                return
            terms.append(dict(self.step.terms))
            status = f"client {client.number} loss {losses[-1]:.3f}"
            advance(self._shown(start, len(losses)), status)
            if self.agreement.interrupt.requested:
                self._save_between_clients(start)
        # ends the processes that load images
        next(batches, None)
        self.rounds.finish(client, losses, terms)
        if self.agreement.due:
            self._save_between_clients(start)

    def _shown(self, start: int, taken: int) -> int:
        """Return the steps that count as done, of all participants' steps in this round."""
        taken += self.local_steps * len(self.rounds.done)
        return start + taken // len(self.rounds.participants())

    def _save_between_clients(self, start: int) -> None:
        """Save a checkpoint that has the clients so far; the model in it is the global one.

        Raises:
            Stopped: this process was interrupted.
        """
        self.progress.step = start
        self.rounds.restore()
        self._save()

    def _end_round(self, start: int) -> None:
        """Combine the models, and report every step's mean loss, weighted by images."""
        done, images = dict(self.rounds.done), self.rounds.images()
        self.rounds.aggregate()
        total = sum(images.values())
        shares = {client: count / total for client, count in images.items()}
        for index in range(self.local_steps):
            step = start + index
            set_rates(self.optimizer, rate_factor(step, self.recipe.steps, self.recipe.schedule))
            self.progress.step = step + 1
            losses = {each: {"": done[each]["losses"][index]} for each in shares}
            terms = {each: done[each]["terms"][index] for each in shares}
            self._report(_mean(losses, shares)[""], _mean(terms, shares))

    def _after_round(self, start: int) -> None:
        """Evaluate and save where that is due."""
        evaluated = self._evaluation_is_due()
        if evaluated:
            self._evaluate()
            self.memory.restart()
        if evaluated or self.agreement.due:
            self._save()


def _mean(
    values: Mapping[int, Mapping[str, float]], shares: Mapping[int, float]
) -> dict[str, float]:
    """Return the clients' weighted mean of each loss, by its name.

    Args:
        values: client -> its losses by name; the same names for all.
        shares: client -> its weight; they add up to 1.
    """
    found: dict[str, float] = {}
    for client, share in shares.items():
        for name, value in values[client].items():
            found[name] = found.get(name, 0.0) + share * value
    return found
