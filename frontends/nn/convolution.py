"""Convolution layers, forward and transposed, over one to three spatial axes.

Comes in: numbers of channels, a kernel, options, a random generator. Goes out: modules. A separate
file because the checks of channels and the shapes of weights are theirs alone; what they compute is
`functional.conv` and `functional.conv_transposed`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from graphc.errors import UserError
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.padding import Mode, pad
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import functional, init
from graphc.frontends.nn.functional import Padding, Sizes, pairs, several
from graphc.frontends.nn.init import Initialiser, Rng
from graphc.frontends.nn.layers import fan_in_bias
from graphc.frontends.nn.module import Module

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
_BORDERS: dict[str, Mode] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
"""PyTorch's names for what stands in the padding, and those of `pad`."""


class Convolution(Module):
    """`functional.conv` with weights over ``rank`` spatial axes: `Conv1d`, `Conv2d`, `Conv3d`.

    In the padding stand zeros, or by ``padding_mode`` the mirror image ("reflect"), the border
    ("replicate"), or what lies at the other end ("circular").
    """

    rank: ClassVar[int]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        rng: Rng = None,
        initialiser: Initialiser = init.fan_in_uniform,
    ) -> None:
        _check_groups(inputs, outputs, groups)
        if padding_mode not in _BORDERS:
            raise UserError(
                "GC0104", f"padding_mode={padding_mode!r}", fix=f"use one of {', '.join(_BORDERS)}"
            )
        source = init.generator(rng)
        shape = (outputs, inputs // groups, *several(kernel, self.rank))
        self.weight = parameter(initialiser(source, shape), "weight")
        self.bias = fan_in_bias(bias, outputs, init.fans(shape)[0], source)
        self.stride, self.padding = stride, padding
        self.dilation, self.groups, self.padding_mode = dilation, groups, padding_mode

    def forward(self, x: Value) -> Tensor:
        """``[n, inputs, *sizes]`` to ``[n, outputs, *sizes]``."""
        image, padding = tensor(x), self.padding
        if self.padding_mode != "zeros" and image.ndim == self.rank + 2:
            dilation = several(self.dilation, self.rank)
            around = pairs(padding, self.weight.node.type.static_shape[2:], dilation)
            image = pad(image, [(0, 0), (0, 0), *around], _BORDERS[self.padding_mode])
            padding = 0
        return functional.conv(
            image,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv1d(Convolution):
    """Convolution of ``[n, inputs, width]``; weight ``[outputs, inputs/groups, kernel]``."""

    rank = 1


class Conv2d(Convolution):
    """Convolution of ``[n, inputs, h, w]``; weight ``[outputs, inputs/groups, kh, kw]``."""

    rank = 2


class Conv3d(Convolution):
    """Convolution of ``[n, inputs, depth, height, width]``."""

    rank = 3


class TransposedConvolution(Module):
    """`functional.conv_transposed` with weights ``[inputs, outputs/groups, *kernel]``.

    Also called deconvolution (Zeiler et al. 2010): it maps the sizes of a convolution's outputs
    back to those of its inputs. ``output_padding`` adds places at the end, as a stride lets several
    sizes of inputs have the same size of outputs.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        rng: Rng = None,
        initialiser: Initialiser = init.fan_in_uniform,
    ) -> None:
        _check_groups(inputs, outputs, groups)
        source = init.generator(rng)
        shape = (inputs, outputs // groups, *several(kernel, self.rank))
        self.weight = parameter(initialiser(source, shape), "weight")
        self.bias = fan_in_bias(bias, outputs, init.fans(shape)[0], source)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.dilation, self.groups = dilation, groups

    def forward(self, x: Value) -> Tensor:
        """``[n, inputs, *sizes]`` to ``[n, outputs, *sizes]``."""
        return functional.conv_transposed(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class ConvTranspose1d(TransposedConvolution):
    """Transposed convolution of ``[n, inputs, width]``."""

    rank = 1


class ConvTranspose2d(TransposedConvolution):
    """Transposed convolution of ``[n, inputs, height, width]``."""

    rank = 2


class ConvTranspose3d(TransposedConvolution):
    """Transposed convolution of ``[n, inputs, depth, height, width]``."""

    rank = 3


def _check_groups(inputs: int, outputs: int, groups: int) -> None:
    if groups < 1 or inputs % groups or outputs % groups:
        raise UserError(
            "GC0104",
            f"{inputs} and {outputs} channels in {groups} groups",
            why="every group has as many channels",
            fix="use a divisor of both numbers of channels",
        )
