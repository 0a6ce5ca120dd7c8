"""The settings of private training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from encoder_ablations.utils.config import Config, at_most

Epsilon = Annotated[float, Field(gt=0), at_most(100, "a larger one protects nobody")]
Noise = Annotated[float, Field(ge=0.3), at_most(1000, "nothing is learnt from such noise")]
Share = Annotated[float, Field(gt=0, lt=1)]


class PrivacySpec(Config):
    """Private training: DP-SGD (Abadi et al., CCS 2016) on Poisson samples of the images.

    The gradient of every image is clipped, and noise is added to their sum. Of ``epsilon`` and
    ``noise`` one is given; the other one follows from it, the number of images, ``batch_size`` and
    ``steps``.
    """

    epsilon: Epsilon | None = None
    """ε of the whole training, for which the noise is solved. null: it follows from ``noise``."""
    noise: Noise | None = None
    """Standard deviation of the noise on the sum of gradients, in units of ``clip``; 0.3 or more,
    because ε is in the hundreds below. null: it follows from ``epsilon``.
    """
    delta: Share = 1e-5
    """δ: less than 1 / number of training images, better much less."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of an image's gradient over all parameters that learn; larger ones are scaled
    down to it.
    """
    accountant: Literal["prv", "rdp", "gdp"] = "prv"
    """Opacus' accountant, which computes ε. "prv" (Gopi et al., NeurIPS 2021) is tight, "rdp"
    (Mironov, CSF 2017) is looser. "gdp" (Bu et al., 2020) approximates and may say too little.
    """

    @model_validator(mode="after")
    def _has_a_budget(self) -> Self:
        if self.epsilon is None and self.noise is None:
            raise ValueError(
                "give one of epsilon (the noise is solved for it) and noise (which gives the "
                "epsilon), such as {epsilon: 3}"
            )
        return self

    @property
    def title(self) -> str:
        """Return the budget in words, such as "eps3", with what else is not the default."""
        words = []
        if self.epsilon is not None:
            words.append(f"eps{self.epsilon:g}")
        if self.noise is not None:
            words.append(f"noise{self.noise:g}")
        fields = type(self).model_fields
        for key in ("delta", "clip"):
            value = getattr(self, key)
            if value != fields[key].default:
                words.append(f"{key}{value:g}")
        if self.accountant != fields["accountant"].default:
            words.append(self.accountant)
        return " ".join(words)


class ClientPrivacySpec(PrivacySpec):
    """Federated training that protects whole clients: DP-FedAvg (McMahan et al., ICLR 2018).

    The update of every client is clipped, and noise is added to their sum once a round. Of
    ``epsilon`` and ``noise`` one is given; the other one follows from it, the share of the clients
    and the rounds.
    """

    noise: Noise | None = None
    """Standard deviation of the noise on the sum of updates, in units of ``clip``; 0.3 or more.
    null: it follows from ``epsilon``.
    """
    delta: Share = 1e-5
    """δ: less than 1 / number of clients, better much less."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a client's update over all tensors that it sends; larger ones are scaled down
    to it.
    """
