"""Which share of an account's callbacks is lost, believed from what came and what questions found. Pure.

Most paths lose about one callback in a hundred, or fewer; some lose many. So the prior is a mixture of two Beta
distributions, and each is weighed by how well it foretold what was seen (Bayes; the Beta-binomial likelihood). Three
misses among two hundred tasks are chance, where the loss is usual; thirty are not, and then the usual is forgotten. An
estimate with one prior is either slow to believe in a path that is lossy, or quick to believe in one that is not.

What a plan costs is linear in the share, so that the mean would be the best guess. `DEAR` standard errors more are
assumed: too few questions cost the tasks of which nobody hears, too many a price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log2, sqrt

DEAR = 2.0
STEPS = 3  # to a doubling: finer than that it changes no plan worth making anew


@dataclass(frozen=True, slots=True, kw_only=True)
class _Belief:
    """A kind of path: how many are so, and as if so many callbacks had been lost and had come at it."""

    weight: float
    lost: float
    came: float

    def after(self, found: float, called: float) -> _Belief:
        """What is believed of it then; the weight is by how likely just that was."""
        lost, came = self.lost + found, self.came + called
        likelihood = _log_beta(lost, came) - _log_beta(self.lost, self.came)
        return _Belief(weight=log(self.weight) + likelihood, lost=lost, came=came)


_USUAL = _Belief(weight=0.9, lost=10.0, came=990.0)
_LOSSY = _Belief(weight=0.1, lost=0.5, came=4.5)


def believed_loss(*, found: float, called: float) -> float:
    """The share to plan with, in steps of a third octave: callbacks told of `called` ends, and questions `found`."""
    beliefs = [each.after(found, called) for each in (_USUAL, _LOSSY)]
    mean, deviation = _moments(beliefs)
    return min(1.0, 2 ** (round(log2(mean + DEAR * deviation) * STEPS) / STEPS))


def _moments(beliefs: Sequence[_Belief]) -> tuple[float, float]:
    """The mean and the standard deviation of the mixture, whose weights are logarithms."""
    most = max(each.weight for each in beliefs)
    weights = [exp(each.weight - most) for each in beliefs]
    mean = square = 0.0
    for weight, each in zip(weights, beliefs, strict=True):
        seen = each.lost + each.came
        mean += weight * each.lost / seen
        square += weight * each.lost * (each.lost + 1) / (seen * (seen + 1))
    whole = sum(weights)
    return mean / whole, sqrt(max(0.0, square / whole - (mean / whole) ** 2))


def _log_beta(lost: float, came: float) -> float:
    return lgamma(lost) + lgamma(came) - lgamma(lost + came)
