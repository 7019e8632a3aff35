"""Transformers: layers of attention and a feed-forward network, and stacks of them.

Comes in: sequences of features and masks. Goes out: sequences of the same shape. A separate file
because these are architectures, made of other layers only. Parameters have PyTorch's names; the
masks are those of `MultiHeadAttention`, in which true hides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import gelu, relu
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import init
from graphc.frontends.nn.attention import MultiHeadAttention
from graphc.frontends.nn.dropout import optional_dropout
from graphc.frontends.nn.init import Rng
from graphc.frontends.nn.layers import Linear
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.normalisation import LayerNorm

Function = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Function] = {"relu": relu, "gelu": gelu}


class TransformerLayer(Module):
    """What encoder and decoder layers share: sub-layers with residuals and normalisation.

    ``norm_first`` normalises what a sub-layer reads (Xiong et al. 2020) in place of its sum with
    the residual (Vaswani et al. 2017). ``hidden`` is the width of the feed-forward network,
    ``activation`` "relu", "gelu" or a function of a tensor. Raises `UserError` GC0104.
    """

    attentions: tuple[str, ...]

    def __init__(
        self,
        features: int,
        heads: int,
        hidden: int = 2048,
        dropout: float = 0.1,
        activation: str | Function = "relu",
        epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Rng = None,
    ) -> None:
        source = init.generator(rng)
        for name in self.attentions:
            options: dict[str, Any] = {"batch_first": batch_first, "rng": source}
            setattr(self, name, MultiHeadAttention(features, heads, dropout, bias, **options))
        self.linear1 = Linear(features, hidden, bias, rng=source)
        self.dropout = optional_dropout(dropout, source)
        self.linear2 = Linear(hidden, features, bias, rng=source)
        for k in range(1, len(self.attentions) + 2):
            setattr(self, f"norm{k}", LayerNorm(features, epsilon, bias=bias))
            setattr(self, f"dropout{k}", optional_dropout(dropout, source))
        self.activation = _activation(activation)
        self.norm_first = norm_first

    def _residual(self, number: int, x: Tensor, sublayer: Function) -> Tensor:
        """``x`` plus the sub-layer of it, with the normalisation and dropout of that number."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        y: Tensor = x + dropout(sublayer(norm(x) if self.norm_first else x))
        return y if self.norm_first else norm(y)

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return y


class TransformerEncoderLayer(TransformerLayer):
    """Attention of a sequence to itself, then a feed-forward network; see `TransformerLayer`."""

    attentions = ("self_attn",)
    self_attn: MultiHeadAttention

    def forward(
        self,
        src: Value,
        src_mask: Value | None = None,
        src_key_padding_mask: Value | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """``[time, n, features]``, or ``[n, time, features]`` with ``batch_first``: same shape."""

        def attend(x: Tensor) -> Tensor:
            masks = (src_key_padding_mask, src_mask)
            y: Tensor = self.self_attn(x, x, x, *masks, is_causal=is_causal)[0]
            return y

        x = self._residual(1, tensor(src), attend)
        return self._residual(2, x, self._feed_forward)


class TransformerDecoderLayer(TransformerLayer):
    """Attention of a sequence to itself, then to ``memory``, then a feed-forward network.

    See `TransformerLayer`; memory is what an encoder made of another sequence.
    """

    attentions = ("self_attn", "multihead_attn")
    self_attn: MultiHeadAttention
    multihead_attn: MultiHeadAttention

    def forward(
        self,
        tgt: Value,
        memory: Value,
        tgt_mask: Value | None = None,
        memory_mask: Value | None = None,
        tgt_key_padding_mask: Value | None = None,
        memory_key_padding_mask: Value | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``[time, n, features]``, or ``[n, time, features]`` with ``batch_first``: same shape."""
        source = tensor(memory)

        def attend(x: Tensor) -> Tensor:
            masks = (tgt_key_padding_mask, tgt_mask)
            y: Tensor = self.self_attn(x, x, x, *masks, is_causal=tgt_is_causal)[0]
            return y

        def look(x: Tensor) -> Tensor:
            masks = (memory_key_padding_mask, memory_mask)
            options = {"is_causal": memory_is_causal}
            y: Tensor = self.multihead_attn(x, source, source, *masks, **options)[0]
            return y

        x = self._residual(1, tensor(tgt), attend)
        x = self._residual(2, x, look)
        return self._residual(3, x, self._feed_forward)


class Stack(Module):
    """Layers one after another, and a normalisation behind the last unless it is None.

    Each layer is a module of its own, with start values of its own.
    """

    def __init__(self, layers: Sequence[Module], norm: Module | None = None) -> None:
        if isinstance(layers, Module):
            raise UserError(
                "GC0107",
                f"{type(self).__name__} of one {type(layers).__name__}",
                why="layers are not copied: each has parameters of its own",
                fix="pass a list, e.g. [nn.TransformerEncoderLayer(64, 4) for _ in range(6)]",
            )
        self.layers, self.norm = list(layers), norm

    def _stacked(self, x: Tensor, *others: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *others, **options)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(Stack):
    """A stack of `TransformerEncoderLayer`; parameters as in ``layers.0.linear1.weight``."""

    def forward(
        self,
        src: Value,
        mask: Value | None = None,
        src_key_padding_mask: Value | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Same shape; the masks are those of every layer."""
        return self._stacked(tensor(src), mask, src_key_padding_mask, is_causal)


class TransformerDecoder(Stack):
    """A stack of `TransformerDecoderLayer`; parameters as in ``layers.0.linear1.weight``."""

    def forward(self, tgt: Value, memory: Value, *masks: Any, **options: Any) -> Tensor:
        """Same shape as ``tgt``; masks and options are those of every layer, in their order."""
        return self._stacked(tensor(tgt), tensor(memory), *masks, **options)


class Transformer(Module):
    """An encoder and a decoder that looks at what it made (Vaswani et al. 2017, figure 1).

    ``options`` are those of `TransformerLayer` from ``hidden`` on. Both stacks end in a
    normalisation. Embeddings and positions come before, a `Linear` for scores behind.
    """

    def __init__(
        self,
        features: int = 512,
        heads: int = 8,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        *,
        rng: Rng = None,
        **options: Any,
    ) -> None:
        shared = {"features": features, "heads": heads, "rng": init.generator(rng), **options}
        encoders = [TransformerEncoderLayer(**shared) for _ in range(encoder_layers)]
        decoders = [TransformerDecoderLayer(**shared) for _ in range(decoder_layers)]
        norm = {"epsilon": options.get("epsilon", 1e-5), "bias": options.get("bias", True)}
        self.encoder = TransformerEncoder(encoders, LayerNorm(features, **norm))
        self.decoder = TransformerDecoder(decoders, LayerNorm(features, **norm))

    def forward(
        self,
        src: Value,
        tgt: Value,
        src_mask: Value | None = None,
        tgt_mask: Value | None = None,
        memory_mask: Value | None = None,
        src_key_padding_mask: Value | None = None,
        tgt_key_padding_mask: Value | None = None,
        memory_key_padding_mask: Value | None = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Sequences ``src`` and ``tgt`` to a tensor like ``tgt``; masks as in the layers."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        y: Tensor = self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
        return y


def _activation(given: str | Function) -> Function:
    if not isinstance(given, str):
        return given
    if given not in _ACTIVATIONS:
        raise UserError(
            "GC0104", f"unknown activation {given!r}", fix="use 'relu', 'gelu' or a function"
        )
    return _ACTIVATIONS[given]
