"""A lower bound on ε from one training with planted canaries.

Steinke, Nasr & Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023): each of m
canaries is in the training with probability 1/2. An attacker sees the result and says of r of them
whether they were in it. Of an (ε, δ)-private training few of these guesses can be right.
"""

import math

import numpy as np
from scipy.stats import binom


def p_value(canaries, guesses, right, epsilon, delta):
    """The probability that an (ε, δ)-private training lets at least ``right`` guesses be right.

    Theorem 5.2 and the code of appendix D.
    """
    accuracy = 1 / (1 + math.exp(-epsilon))  # of ε-private randomised response
    beta = binom.sf(right - 1, guesses, accuracy)
    within = np.cumsum(binom.pmf(right - np.arange(1, right + 1), guesses, accuracy))
    alpha = max((within / np.arange(1, right + 1)).max(initial=0.0), 0.0)
    return min(1.0, beta + alpha * delta * 2 * canaries)


def epsilon_at_least(canaries, guesses, right, delta, confidence=0.95):
    """The largest ε that the guesses refute, with this confidence; 0 where they refute none."""
    low, high = 0.0, 20.0
    if p_value(canaries, guesses, right, low, delta) > 1 - confidence:
        return 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if p_value(canaries, guesses, right, middle, delta) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def audited(scores, planted, guesses, delta):
    """The lower bound from scores: the highest are said to be in, as many of the lowest to be out.

    Args:
        scores: of each canary.
        planted: whether it was in the training.
        guesses: how many are made, half of them "in".
    """
    order = np.argsort(scores)
    right = planted[order[-guesses // 2 :]].sum() + (~planted[order[: guesses // 2]]).sum()
    return epsilon_at_least(len(scores), guesses, int(right), delta)
