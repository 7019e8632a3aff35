"""What happens after an epoch: stopping, rates, logs, checkpoints, and training resumed."""

import csv

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim, training
from graphc.frontends.data import batches
from running import assert_close

X = np.random.default_rng(0).normal(size=(22, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def losses(*values):
    """A step that returns these losses, one an epoch."""
    rest = iter(values)
    return lambda x: next(rest)


def run(step, epochs, **options):
    return training.fit(step, [np.zeros(1)], epochs, quiet=True, **options)


# Watching -----------------------------------------------------------------------------------------
def test_early_stopping():
    step = losses(3, 2, 2.5, 2, 1, 1.5, float("nan"), 1, 0)
    stopping = training.EarlyStopping(patience=3)
    history = run(step, 9, after_epoch=stopping)
    assert [m["loss"] for m in history.epochs[:6]] == [3, 2, 2.5, 2, 1, 1.5]
    assert len(history.epochs) == 8
    assert stopping.watch.best == 1


def test_better_by_a_share():
    watch = training.Watch("loss", threshold=0.1)
    found = [watch.improved({"loss": x}) for x in (10, 9.5, 9.1, 8.9, -1, -1.05, -1.2)]
    assert found == [True, False, False, True, True, False, True]
    watch = training.Watch("accuracy", "max")
    assert [watch.improved({"accuracy": x}) for x in (0.1, 0.3, 0.3, 0.4)] == [1, 1, 0, 1]
    assert watch.waited == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: training.Watch("loss", "least"),
        lambda: training.Watch("loss", threshold=-1),
        lambda: training.Watch("loss").improved({"accuracy": 1.0}),
        lambda: training.ReduceOnPlateau(gc.param(0.1), factor=1.0),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(gc.UserError, match="GC0104"):
        wrong()


def test_every_callback_is_called_before_the_end():
    seen = []
    stop = [lambda epoch, metrics: True, lambda epoch, metrics: seen.append(epoch)]
    run(losses(1, 2), 2, after_epoch=stop)
    assert seen == [1]


def test_the_rate_falls_on_a_plateau():
    rate = gc.param(1.0, name="rate", trainable=False, dtype="float64")
    plateau = training.ReduceOnPlateau(rate, factor=0.5, patience=1, cooldown=2, least=0.2)
    path = []
    for loss in (5, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3):
        plateau(0, {"loss": loss})
        path.append(float(gc.value(rate)))
    assert path == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2]


# Logs ---------------------------------------------------------------------------------------------
def test_a_table_of_metrics(tmp_path):
    log = training.CSVLog(tmp_path / "log.csv")
    run(losses(3, 0.1), 2, after_epoch=log)
    run(losses(0.5), 3, after_epoch=log, first=3)
    with open(log.path, newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "loss"], ["1", "3.0"], ["2", "0.1"], ["3", "0.5"],
        ]  # fmt: skip
    with pytest.raises(gc.UserError, match="GC0502"):
        log(4, {"accuracy": 1.0})
    log(1, {"accuracy": 1.0})
    assert log.path.read_text().split() == ["epoch,accuracy", "1,1.0"]


def test_curves_for_a_writer():
    seen = []

    class Writer:
        def add_scalar(self, tag, scalar_value, global_step):
            seen.append((tag, scalar_value, global_step))

    run(losses(3, 2), 2, after_epoch=training.TensorBoardLog(Writer()))
    assert seen == [("loss", 3.0, 1), ("loss", 2.0, 2)]


def test_curves_in_a_file_for_tensorboard(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        run(losses(3, 2), 2, after_epoch=training.TensorBoardLog(writer))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert content.count(b"loss") == 2
    assert np.float32(3).tobytes() in content


def test_validation_is_the_mean_over_examples():
    values = iter([1.0, 4.0])
    check = training.validation(
        lambda x: {"loss": next(values)}, lambda: [np.zeros(6), np.zeros(2)]
    )
    history = run(losses(9), 1, validate=check)
    assert history.last == {"loss": 9, "validation_loss": pytest.approx((6 * 1 + 2 * 4) / 8)}
    assert training.evaluate(lambda x: 1.0, []) == {}


# Checkpoints --------------------------------------------------------------------------------------
class Session:
    """A training with everything that has a state: dropout, a schedule, averages, shuffling."""

    def __init__(self, path, seed):
        nn.seed(seed)
        self.model = nn.Sequential(
            nn.Linear(3, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
        )
        self.rng = np.random.default_rng(seed)
        self.rate = gc.param(1.0 + seed, name="rate", trainable=False)
        schedule = optim.schedules.warm_up(optim.schedules.cosine(self.rate, 30), 5)
        self.optimiser = optim.NAdam(schedule)
        average = optim.ExponentialAverage(0.9)
        x, y = gc.input("x", ("n", 3)), gc.input("y", ("n",), "int64")
        loss = nn.cross_entropy(self.model(x), y)
        weights = self.model.parameters()
        updates = average.updates(self.optimiser.updates(loss, weights), weights)
        updates |= self.model.updates()
        self.step = gc.compile([x, y], loss, updates, backend="numpy")
        self.plateau = training.ReduceOnPlateau(self.rate, patience=1)
        self.parts = dict(
            model=self.model,
            optimiser=self.optimiser,
            average=average,
            plateau=self.plateau,
            order=self.rng,
        )
        self.checkpoint = training.Checkpoint(path, **self.parts)

    def fit(self, epochs):
        return training.fit(
            self.step,
            lambda: batches([X, Y], 5, self.rng),
            epochs,
            first=self.checkpoint.resume(),
            after_epoch=[self.plateau, self.checkpoint],
            quiet=True,
        )

    def arrays(self):
        return {
            f"{part}.{name}": gc.value(p)
            for part, owner in self.parts.items()
            if part != "order"
            for name, p in owner.named_state().items()
        }


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_a_resumed_training_is_equal_to_the_last_bit(tmp_path, ending):
    through = Session(tmp_path / f"through.{ending}", 0)
    whole = through.fit(6)
    first = Session(tmp_path / f"parts.{ending}", 0).fit(4)
    second = Session(tmp_path / f"parts.{ending}", 1)
    rest = second.fit(6)
    assert first.epochs + rest.epochs == whole.epochs
    assert len(rest.epochs) == 2
    ours, theirs = second.arrays(), through.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    assert second.rng.integers(1 << 60) == through.rng.integers(1 << 60)


def test_the_best_epoch_is_kept(tmp_path):
    weights = nn.Linear(1, 1)
    best = training.Checkpoint(tmp_path / "best.safetensors", metric="loss", weights=weights)
    values = iter([3.0, 1.0, 2.0])

    def step(x):
        gc.assign(weights.bias, [next(values)])
        return gc.value(weights.bias)[0]

    run(step, 3, after_epoch=best)
    assert gc.value(weights.bias) == 2
    assert best.resume() == 3
    assert gc.value(weights.bias) == 1


def test_a_training_without_a_file_begins_at_the_beginning(tmp_path):
    assert training.Checkpoint(tmp_path / "none.npz", model=nn.Linear(1, 1)).resume() == 1


BITS = [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("kind", BITS)
def test_generators_of_numpy(tmp_path, kind):
    path = tmp_path / "order.safetensors"
    rng = np.random.Generator(kind(5))
    rng.integers(10, size=7, dtype=np.int32)
    gc.save(path, order=rng)
    expected = rng.normal(size=9), rng.integers(10, size=5, dtype=np.int32)
    other = np.random.Generator(kind(6))
    gc.load(path, order=other)
    assert_close(other.normal(size=9), expected[0], rtol=0, atol=0)
    assert (other.integers(10, size=5, dtype=np.int32) == expected[1]).all()
    wrong = np.random.Generator(BITS[BITS.index(kind) - 1](6))
    before = wrong.bit_generator.state
    with pytest.raises(gc.UserError, match="GC0502"):
        gc.load(path, order=wrong)
    assert str(wrong.bit_generator.state) == str(before)
