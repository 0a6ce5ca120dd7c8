"""Whether the head node of a Ray cluster still answers.

Where it does not, Ray ends every process that is connected to it after a minute, whatever that
process does at the moment.
"""

import socket
import time

from encoder_ablations.utils.errors import CannotContinue

CONNECT_SECONDS = 10.0
LOST_SECONDS = 20.0
"""After this time without an answer the head node counts as lost: sooner than Ray ends us."""
LOOK_SECONDS = 2.0


class Head:
    """The head node of a cluster, as it is seen from here.

    Attributes:
        address: HOST:PORT of what it listens at.
        silent_since: when it first did not answer (monotonic seconds); None if it last did.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.silent_since: float | None = None

    def check(self) -> bool:
        """Return whether it answers.

        Raises:
            CannotContinue: it has not for a while.
        """
        try:
            try_port(self.address)
        except OSError as error:
            looked = time.monotonic()
            if self.silent_since is None:
                self.silent_since = looked
            if looked - self.silent_since >= LOST_SECONDS:
                raise self.lost(error) from error
            return False
        self.silent_since = None
        return True

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            CannotContinue: it does not.
        """
        while not self.check():
            time.sleep(LOOK_SECONDS)

    def lost(self, error: Exception) -> CannotContinue:
        """Return what to raise where it does not answer because of ``error``."""
        reason = " ".join(str(error).split())
        return CannotContinue(
            f"the head node of the Ray cluster at {self.address} no longer answers ({reason}). "
            "The runs end with it and keep their last checkpoints. Start the cluster again; the "
            "same command goes on."
        )


def try_port(address: str) -> None:
    """Connect to ``HOST:PORT`` and leave again.

    Raises:
        OSError: nobody answers there.
        OverflowError: there are no such ports.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
