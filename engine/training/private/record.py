"""The record of what private training has spent."""

from pydantic import BaseModel, ConfigDict

NOT_PROTECTED = (
    "validation and test images",
    "the trials by which settings were chosen",
    "the images of pretraining",
    "what the run's folder holds beside weights: the curve of the training loss, names of files, "
    "pixels of each class",
)


class PrivacyRecord(BaseModel):
    """What private training has spent.

    Attributes:
        epsilon, delta: the guarantee after ``steps`` steps.
        accountant: which one of Opacus' computed ``epsilon``.
        noise: standard deviation of the noise on the sum of gradients (or updates), in units of
            ``clip``.
        clip: largest norm of an image's gradient, or a client's update.
        rate: probability of each image to be in the sample of a step, or of each client to take
            part in a round.
        steps: optimiser steps of private training, or rounds.
        protected: what neighbouring datasets differ in.
        not_protected: what the guarantee does not cover.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epsilon: float
    delta: float
    accountant: str
    noise: float
    clip: float
    rate: float
    steps: int
    protected: str
    not_protected: list[str] = list(NOT_PROTECTED)
