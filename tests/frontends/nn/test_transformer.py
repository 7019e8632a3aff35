"""Transformer layers: the order of their parts, their names, their masks."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def disturbed(layer, rng):
    for p in layer.parameters():
        gc.assign(p, rng.normal(size=p.shape) * 0.5)
    return layer


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", gc.tanh])
def test_an_encoder_layer_is_made_of_its_parts(activation, norm_first, rng):
    options = {"activation": activation, "norm_first": norm_first, "epsilon": 1e-3}
    layer = disturbed(nn.TransformerEncoderLayer(8, 2, 5, 0.0, **options), rng)
    function = {"relu": gc.relu, "gelu": gc.gelu}.get(activation, activation)

    def by_hand(x):
        def attend(x):
            return layer.self_attn(x, x, x)[0]

        def feed(x):
            return layer.linear2(function(layer.linear1(x)))

        if norm_first:
            x = x + attend(layer.norm1(x))
            return x + feed(layer.norm2(x))
        x = layer.norm1(x + attend(x))
        return layer.norm2(x + feed(x))

    x = rng.normal(size=(3, 2, 8)).astype(np.float32)
    assert_close(run(layer, x=x), run(by_hand, x=x), atol=1e-5)
    assert layer.norm1.epsilon == 1e-3


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_decoder_layer_is_made_of_its_parts(norm_first, rng):
    layer = disturbed(nn.TransformerDecoderLayer(8, 2, 5, 0.0, norm_first=norm_first), rng)

    def by_hand(x, m):
        def attend(x):
            return layer.self_attn(x, x, x, is_causal=True)[0]

        def look(x):
            return layer.multihead_attn(x, m, m)[0]

        def feed(x):
            return layer.linear2(gc.relu(layer.linear1(x)))

        for norm, part in zip(
            (layer.norm1, layer.norm2, layer.norm3), (attend, look, feed), strict=True
        ):
            x = x + part(norm(x)) if norm_first else norm(x + part(x))
        return x

    x, m = (rng.normal(size=(n, 2, 8)).astype(np.float32) for n in (3, 4))
    ours = run(lambda x, m: layer(x, m, tgt_is_causal=True), x=x, m=m)
    assert_close(ours, run(by_hand, x=x, m=m), atol=1e-5)


def test_gradients(rng):
    layer = nn.TransformerDecoderLayer(4, 2, 3, 0.0, activation="gelu", rng=0)
    check_gradients(layer, rng, rng.normal(size=(2, 1, 4)), rng.normal(size=(3, 1, 4)))


def test_names_are_those_of_pytorch():
    encoder = nn.TransformerEncoder(
        [nn.TransformerEncoderLayer(8, 2, 5) for _ in range(2)], nn.LayerNorm(8)
    )
    names = [n for n in encoder.named_state() if not n.endswith("random")]
    assert set(names) == {
        f"layers.{k}.{part}"
        for k in range(2)
        for part in [
            *("self_attn.in_proj_weight", "self_attn.in_proj_bias"),
            *("self_attn.out_proj.weight", "self_attn.out_proj.bias"),
            *("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"),
            *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
        ]
    } | {"norm.weight", "norm.bias"}
    # PyTorch has no state of generators: a checkpoint without fits
    saved = {n: a + 1 for n, a in encoder.state_dict().items() if n in names}
    encoder.load_state_dict(saved)
    assert all((saved[n] == a).all() for n, a in encoder.state_dict().items() if n in names)
    decoder = nn.TransformerDecoderLayer(8, 2, 5, bias=False)
    names = {n for n in decoder.named_state() if not n.endswith("random")}
    assert names == {
        *("self_attn.in_proj_weight", "self_attn.out_proj.weight"),
        *("multihead_attn.in_proj_weight", "multihead_attn.out_proj.weight"),
        *("linear1.weight", "linear2.weight", "norm1.weight", "norm2.weight", "norm3.weight"),
    }


def test_stacks_hand_their_masks_on(rng):
    def layers(kind):
        return [disturbed(kind(8, 2, 5, 0.0, batch_first=True), rng) for _ in range(2)]

    encoder = nn.TransformerEncoder(layers(nn.TransformerEncoderLayer), nn.LayerNorm(8))
    decoder = nn.TransformerDecoder(layers(nn.TransformerDecoderLayer))
    x, y = (rng.normal(size=(2, n, 8)).astype(np.float32) for n in (3, 4))
    padding = np.array([[0, 0, 1], [0, 1, 0]], bool)
    later = np.triu(np.ones((4, 4), bool), 1)

    def ours(x, y):
        memory = encoder(x, src_key_padding_mask=padding)
        return decoder(y, memory, later, memory_key_padding_mask=padding)

    def by_hand(x, y):
        for layer in encoder.layers:
            x = layer(x, None, padding)
        x = encoder.norm(x)
        for layer in decoder.layers:
            y = layer(y, x, later, None, None, padding)
        return y

    found = run(ours, x=x, y=y)
    assert_close(found, run(by_hand, x=x, y=y), atol=1e-5)
    hidden = np.where(padding[..., None], 100, x).astype(np.float32)
    assert_close(run(ours, x=hidden, y=y), found, atol=1e-5)
    changed = y.copy()
    changed[:, -1] += 1
    assert_close(run(ours, x=x, y=changed)[:, :-1], found[:, :-1], atol=1e-5)


def test_every_dropout_draws_its_own_mask():
    layer = nn.TransformerEncoderLayer(8, 2, 5, 0.5, rng=0)
    states = [tuple(a) for n, a in layer.state_dict().items() if n.endswith("random")]
    assert len(set(states)) == len(states) == 4
    other = nn.TransformerEncoderLayer(8, 2, 5, 0.5, rng=0)
    assert states == [tuple(a) for n, a in other.state_dict().items() if n.endswith("random")]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="sin"), "GC0104"),
        (lambda: nn.TransformerEncoderLayer(8, 3), "GC0104"),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2)), "GC0107"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()


def test_a_whole_transformer_is_an_encoder_and_a_decoder(rng):
    model = nn.Transformer(8, 2, 1, 2, hidden=5, dropout=0.0, batch_first=True, bias=False, rng=0)
    disturbed(model, rng)
    x, y = (rng.normal(size=(2, n, 8)).astype(np.float32) for n in (3, 4))
    padding = np.array([[0, 0, 1], [0, 1, 0]], bool)

    def by_hand(x, y):
        memory = model.encoder(x, src_key_padding_mask=padding)
        hidden = {"memory_key_padding_mask": padding}
        return model.decoder(y, memory, tgt_is_causal=True, **hidden)

    def ours(x, y):
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return model(x, y, tgt_is_causal=True, **masks)

    assert_close(run(ours, x=x, y=y), run(by_hand, x=x, y=y), atol=1e-5)
    names = set(model.named_state())
    assert {"encoder.norm.weight", "decoder.layers.1.multihead_attn.in_proj_weight"} <= names
    assert not any(name.endswith("bias") for name in names)
