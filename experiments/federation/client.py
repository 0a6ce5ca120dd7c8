"""A client of a federation, in a process of its own: it reads its own images only."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from pydantic import ValidationError

from encoder_ablations.data.checks.training_check import check_splits
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.data.loading.cache import for_training
from encoder_ablations.data.loading.mixing import check_partners
from encoder_ablations.engine.training.course import Loop
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import Client, client_seeds, client_step
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.federated.remote import Learnt, Task
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.federation.limits import check_deployable
from encoder_ablations.experiments.federation.messages import (
    Arrays,
    ClientFacts,
    Introduction,
    ModelFacts,
    Order,
    Reply,
    Report,
    difference,
    fingerprint_of,
    model_facts,
    to_arrays,
    to_state,
)
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.files import StorageError


class FederatedClient:
    """Answers the server of a federation.

    Attributes:
        refusal: why it has left; None = it has not.
        rounds: how many it has finished.
        stopped: why the server has stopped before the end; None = it has not.
        finished: whether the training is at its end.
    """

    def __init__(
        self,
        spec: RunSpec,
        number: int,
        execution: Execution,
        accelerator: Accelerator,
        tell: Callable[[str], object],
    ) -> None:
        """Read the client's images.

        Args:
            spec: the run, with the client's own folder as the dataset's.
            number: of the client, from 0.
            execution: how it computes.
            accelerator: its device.
            tell: is told of every round.

        Raises:
            InputError: the run cannot be trained between machines, there is no client of this
                number, or something is wrong with the images.
        """
        self.federation = check_deployable(spec)
        if not 0 <= number < self.federation.clients:
            raise InputError(
                f"--client {number} is not one of {self.federation.clients} clients; allowed are "
                f"0..{self.federation.clients - 1}."
            )
        self.spec, self.number = spec, number
        self.execution, self.accelerator, self.tell = execution, accelerator, tell
        self.refusal: str | None = None
        self.stopped: str | None = None
        self.finished = False
        self.rounds = 0
        checked = check_splits(spec.dataset, ["train"])
        self.samples = for_training(checked.datasets["train"], spec.recipe.augmentation)
        indices = list(range(len(self.samples)))
        check_partners(spec.recipe.augmentation.mix, indices)
        self.facts = ClientFacts(
            number=number,
            images=len(indices),
            class_pixels=checked.scans["train"].pixels,
            ids_sha256=fingerprint(self.samples.ids),
            masks_sha256=checked.fingerprint,
        )
        self._model: ModelFacts | None = None
        self._course: FederatedCourse | None = None
        self._loop: Loop | None = None

    def answer(self, kind: str, content: str) -> str:
        """Return the reply to a question of the server.

        Args:
            kind: "introduce", "prepare", or why the client is sent away.
            content: the question.
        """
        questions = {"introduce": self._introduce, "prepare": self._prepare}
        try:
            reply = questions.get(kind, partial(self._leave, kind))(content)
        except ValidationError:
            reply = self._refuse("the server's question cannot be read: is it another version?")
        except InputError as problem:
            reply = self._refuse(str(problem))
        return reply.model_dump_json()

    def _refuse(self, reason: str) -> Reply:
        self.refusal = reason
        return Reply(refused=reason)

    def _leave(self, kind: str, reason: str) -> Reply:
        self.finished = kind == "finished"
        if kind == "stopped":
            self.stopped = reason
        if kind == "refused" and self.refusal is None:
            self.refusal = f"the server has sent this client away: {reason}"
        return Reply()

    def _introduce(self, content: str) -> Reply:
        if Introduction.model_validate_json(content).spec_sha256 != fingerprint_of(self.spec):
            raise InputError(
                "server and client have different runs. Give both the same configuration, the same "
                "key=value and the same version of this package; only --data may differ."
            )
        return Reply(facts=self.facts)

    def _prepare(self, content: str) -> Reply:
        """Make the server's model.

        Raises:
            InputError: it is another one here, or cannot be made.
        """
        model = ModelFacts.model_validate_json(content)
        trainer = self._trainer(model.class_pixels)
        assert isinstance(trainer.course, FederatedCourse)
        course = trainer.course
        own = model_facts(trainer.segmenter, course.rounds.exchange.shared, model.class_pixels)
        problem = difference(own, model)
        if problem is not None:
            raise InputError(f"server and client have different models: {problem}.")
        trainer.segmenter.train()
        self._model = model
        self._course, self._loop = course, trainer.loop()
        return Reply()

    def _trainer(self, class_pixels: list[int]) -> Trainer:
        """Return what makes the client's steps; it is not run, and so writes nothing."""
        spec, place = self.spec, (self.accelerator, self.execution.loaders)
        segmenter = build_model(spec, class_pixels)
        images = (self.samples, list(range(len(self.samples))))
        # nothing is validated here
        data = TrainingData(spec.dataset, *images, self.samples, [], self.facts.class_pixels)
        seed = client_seeds(self.federation.clients, spec.seed)[self.number]
        batches = partial(data.batches_between, spec.recipe, seed, *place)
        client = Client(self.number, self.facts.images, seed, batches)
        course = partial(FederatedCourse, self.federation, [client], spec.seed)
        return Trainer(
            segmenter,
            data,
            spec.recipe,
            spec.seed,
            Path(),
            *place,
            store=self.execution.store(),
            run_id=spec.run_id,
            make_step=client_step(self.federation),
            make_course=course,
        )

    def train(self, arrays: Sequence[np.ndarray], content: str) -> tuple[Arrays, str]:
        """Return what the client has learnt in a round, and its report.

        Args:
            arrays: the global model.
            content: an :class:`Order`.

        Raises:
            CannotContinue: this process cannot go on.
        """
        assert self._model is not None
        order = Order.model_validate_json(content)
        try:
            task = Task(order.round, order.start, to_state(arrays, self._model.layout))
            learnt = self._learn(task)
        except (CannotContinue, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - the server records it, as of a simulated client
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self.tell(f"round {order.round} failed: {line}")
            return [], Report(round=order.round, error=line).model_dump_json()
        self.rounds += 1
        self.tell(f"round {order.round}: loss {learnt.losses[-1]:.3f}")
        report = Report(round=order.round, losses=learnt.losses, terms=learnt.terms)
        return to_arrays(learnt.model), report.model_dump_json()

    def _learn(self, task: Task) -> Learnt:
        """Take the steps of a round, beginning with the global model.

        The state of the optimiser, if it is kept, lives as long as this object does.
        """
        assert self._course is not None
        assert self._loop is not None
        rounds, news = self._course.rounds, None
        task = replace(task, own={self.number: rounds.own(self.number)})
        for _, news in self._course.simulated(self._loop).train(task, [self.number]):
            if isinstance(news, Exception):
                raise news
        assert isinstance(news, Learnt)
        rounds.keep(self.number, news.own)
        return news
