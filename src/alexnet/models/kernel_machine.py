"""The rows of a kernel machine: pictures are compared with those that were learned from. No torch.

``RootNorm`` gives every picture's features length 1, ``Examples`` its cosine with each training
picture, ``Gaussian`` what that counts, and a dense layer weighs it: ridge regression with a Gaussian
kernel on what frozen convolutions give. The dense layer alone is learned, in closed form
(``training.ridge``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from alexnet.models.rows import Dense, Row, Shape


class RootNorm(Row):
    """Square roots of the values, then length 1: their products are those of Hellinger's kernel
    (Arandjelovic and Zisserman 2012, RootSIFT). Values below 0 count as 0; a vector of zeros stays one.
    """

    kind = "RootNorm"


class Examples(Dense):
    """A dense layer without bias whose kernel is not learned: a row for each of ``units`` training
    pictures, the vector that enters here of that picture.
    """

    kind = "Examples"

    def parameters(self, shape: Shape) -> int:
        """Return 0: nothing of it is learned."""
        return 0

    def buffers(self, shape: Shape) -> int:
        """Return inputs x units."""
        return shape[0] * self.units


class ExactDense(Dense):
    """A dense layer in float32, whatever the precision of the rest: its large weights nearly cancel."""


@dataclass(frozen=True)
class Gaussian(Row):
    """``exp(gamma * (x - 1))`` of a cosine ``x``: for two vectors of length 1 the Gaussian kernel
    ``exp(-gamma/2 * |a - b|^2)``, 1 where they are the same.
    """

    gamma: float = field(kw_only=True)

    kind = "GaussianKernel"


def rows(examples: int, classes: int, gamma: float) -> tuple[Row, ...]:
    """Return the rows of a kernel machine behind a ``Flatten``; ``examples``: training pictures."""
    return (
        RootNorm("headnorm"),
        Examples("head1", units=examples, bias=False),
        Gaussian("headkernel", gamma=gamma),
        ExactDense("head2", units=classes),
    )
