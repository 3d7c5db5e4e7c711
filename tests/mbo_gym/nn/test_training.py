"""The trainer: fits, repeats, and ends in the same weights when it was stopped and taken up
again."""

from __future__ import annotations

import json
import math
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import safetensors
import torch
from torch import nn

from diffusion.core.denoiser import Denoiser
from diffusion.core.losses import denoising_loss
from diffusion.core.networks import ConcatMLP
from mbo_gym.errors import DamagedFile
from mbo_gym.files.weights import save_weights
from mbo_gym.nn.training import CHECKPOINT, TrainingConfig, train
from mbo_gym.nn.weights import seeded
from mbo_gym.progress.protocol import NullProgress

CONFIG = TrainingConfig(steps=30, batch_size=8, warm_up=5, ema=0.9)
X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


class Recorder(NullProgress):
    """Keeps the metrics."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, dict[str, float]]] = []

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))


class Trained:
    """A denoiser with dropout over 20 designs of two features, trained; `at` is called with the
    number of each loss."""

    def __init__(
        self, config=CONFIG, *, seed=0, at=lambda call: None, hidden=8, x=X, **settings
    ) -> None:
        with seeded(0):
            self.denoiser = Denoiser(ConcatMLP(2, hidden=hidden, layers=1, dropout=0.25))
        self.rows: list[torch.Tensor] = []
        self.progress = Recorder()

        def loss(rows, generator):
            at(len(self.rows))
            self.rows.append(rows)
            level = torch.randn(len(rows), generator=generator).exp()
            noise = torch.randn(len(rows), 2, generator=generator)
            return denoising_loss(self.denoiser, x[rows], level, noise)

        settings = {"device": "cpu", "progress": self.progress, **settings}
        self.error: BaseException | None = None
        try:
            train(self.denoiser, loss, len(x), config, seed=seed, **settings)
        except (KeyboardInterrupt, RuntimeError) as error:
            self.error = error

    def __eq__(self, other):
        ours, theirs = self.denoiser.state_dict(), other.denoiser.state_dict()
        return all(torch.equal(ours[name], theirs[name]) for name in ours)


def train_parameter(gradient, config, progress=None):
    """Train one number, which starts at 0, under a loss with a given gradient at each step."""
    module = nn.Module()
    module.p = nn.Parameter(torch.zeros(1))
    seen: list[float] = []

    def loss(rows, generator):
        seen.append(float(module.p.detach()))
        return (module.p * gradient(len(seen) - 1)).sum()

    train(module, loss, 4, config, seed=0, device="cpu", progress=progress or NullProgress())
    return float(module.p.detach()), seen


def step_of(folder):
    with safetensors.safe_open(folder / CHECKPOINT, framework="pt") as file:
        return json.loads(file.metadata()["json"])["step"]


@contextmanager
def keyboard_interrupts():
    """Make Ctrl-C raise KeyboardInterrupt, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_fits_a_line():
    with seeded(0):
        module = nn.Linear(2, 1)
    target = X @ torch.tensor([[1.5], [-2.0]]) + 0.5
    config = TrainingConfig(steps=300, batch_size=20, learning_rate=0.1, warm_up=10, ema=0.9)
    train(
        module,
        lambda rows, generator: (module(X[rows]) - target[rows]).square().mean(),
        len(X),
        config,
        seed=0,
        device="cpu",
        progress=NullProgress(),
    )
    torch.testing.assert_close(module.weight, torch.tensor([[1.5, -2.0]]), rtol=0, atol=1e-3)
    torch.testing.assert_close(module.bias, torch.tensor([0.5]), rtol=0, atol=1e-3)


def test_a_denoiser_learns_where_the_data_lie():
    # designs of one point: the best estimate is that point at any noise
    with seeded(0):
        denoiser = Denoiser(ConcatMLP(2, hidden=32, layers=1), sigma_data=0.5)
    point = torch.tensor([0.7, -0.4])

    def loss(rows, generator):
        level = torch.randn(len(rows), generator=generator).exp()
        noise = torch.randn(len(rows), 2, generator=generator)
        return denoising_loss(denoiser, point.expand(len(rows), 2), level, noise)

    config = TrainingConfig(steps=400, batch_size=64, learning_rate=1e-2, warm_up=20, ema=0.98)
    z, level = torch.tensor([[1.7, 0.6]]), torch.tensor(1.0)
    before = (denoiser(z, level) - point).norm().detach()
    train(denoiser, loss, 64, config, seed=0, device="cpu", progress=NullProgress())
    assert (denoiser(z, level) - point).norm() < 0.2 * before


def test_the_same_seed_gives_the_same_weights_and_no_global_state_changes():
    before = torch.get_rng_state()
    one, same, other = Trained(), Trained(), Trained(seed=1)
    assert one == same
    assert one != other
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert Trained() == one


def test_a_trained_module_is_ready_for_use():
    denoiser = Trained().denoiser
    assert not any(module.training for module in denoiser.modules())
    assert not any(parameter.requires_grad for parameter in denoiser.parameters())


@pytest.mark.parametrize(("batch", "n"), [(8, 20), (5, 20), (20, 20), (50, 20), (7, 3)])
def test_every_row_is_drawn_once_before_any_is_drawn_again(batch, n):
    rows = Trained(replace(CONFIG, batch_size=batch), x=X[:n]).rows
    assert {len(drawn) for drawn in rows} == {batch}
    epochs = torch.cat(rows)[: 30 * batch // n * n].view(-1, n)
    assert (epochs.sort(dim=1).values == torch.arange(n)).all()
    assert len(epochs.unique(dim=0)) > 1


def test_learning_rate_by_hand():
    config = TrainingConfig(steps=12, learning_rate=0.4, warm_up=4)
    expected = [0.1, 0.2, 0.3, 0.4] + [0.2 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert [config.rate(step) for step in range(12)] == pytest.approx(expected)
    assert config.rate(8) == pytest.approx(0.2)  # half way down
    assert [replace(config, decay="none").rate(step) for step in (3, 4, 11)] == [0.4] * 3
    assert replace(config, warm_up=0).rate(0) == 0.4
    assert replace(config, warm_up=100).rate(11) == pytest.approx(0.048)


def test_the_learning_rate_reaches_adam():
    # under a constant gradient of 1, a step of Adam is the learning rate, but for its epsilon
    config = TrainingConfig(
        steps=12, batch_size=2, learning_rate=0.4, warm_up=4, ema=0.0, precision="float32"
    )
    p, seen = train_parameter(lambda step: 1.0, config)
    steps = -torch.tensor([*seen, p]).diff()
    torch.testing.assert_close(
        steps, torch.tensor([config.rate(step) for step in range(12)]), rtol=1e-4, atol=1e-6
    )


def test_moving_average_by_hand():
    config = TrainingConfig(
        steps=3, batch_size=2, learning_rate=1.0, warm_up=0, decay="none", ema=0.22
    )
    # weights 0, -1, -2, -3; decays min(.22, 2/11), then .22 twice (3/12 and 4/13 are above it)
    average = 0.0
    for weight, decay in ((-1.0, 2 / 11), (-2.0, 0.22), (-3.0, 0.22)):
        average = decay * average + (1 - decay) * weight
    assert train_parameter(lambda step: 1.0, config)[0] == pytest.approx(average, rel=1e-5)
    assert train_parameter(lambda step: 1.0, replace(config, ema=0.0))[0] == pytest.approx(
        -3.0, rel=1e-5
    )


@pytest.mark.parametrize("off", [0, None])
def test_long_gradients_are_cut(off):
    # the second gradient is 100 times the first: cut to the same length, Adam makes the same step
    # again
    config = TrainingConfig(
        steps=2, batch_size=2, learning_rate=1.0, warm_up=0, decay="none", ema=0.0
    )
    recorder = Recorder()
    assert train_parameter(lambda step: (1.0, 100.0)[step], config, recorder)[0] == pytest.approx(
        -2.0, rel=1e-5
    )
    assert [values["gradient_norm"] for _, _, values in recorder.seen] == [
        1.0,
        100.0,
    ]  # before the cut
    m, v = 0.9 * 0.1 + 0.1 * 100, 0.999 * 0.001 + 0.001 * 100**2
    second = (m / (1 - 0.9**2)) / math.sqrt(v / (1 - 0.999**2))
    uncut, _ = train_parameter(lambda step: (1.0, 100.0)[step], replace(config, clip=off))
    assert uncut == pytest.approx(-1 - second, rel=1e-4)


def test_metrics_come_about_fifty_times_and_average_the_loss():
    run = Trained(replace(CONFIG, steps=205), stage="made-up")
    stages, steps, values = zip(*run.progress.seen, strict=True)
    assert set(stages) == {"made-up"}
    assert steps == (*range(0, 205, 4),)
    assert all(set(v) == {"loss", "gradient_norm", "learning_rate"} for v in values)
    recorder = Recorder()
    config = TrainingConfig(steps=101, batch_size=2, learning_rate=0.0)
    module = nn.Linear(1, 1)
    calls = iter(range(101))
    train(
        module,
        lambda rows, generator: next(calls) + 0 * module.weight.sum(),
        4,
        config,
        seed=0,
        device="cpu",
        progress=recorder,
    )
    assert [(step, v["loss"]) for _, step, v in recorder.seen[:3]] == [(0, 0.0), (2, 1.5), (4, 3.5)]


def test_bfloat16_is_used_where_it_is_asked_for():
    kinds = {}
    for precision in ("auto", "float32", "bfloat16"):
        module, seen = nn.Linear(2, 1), []

        def loss(rows, generator, module=module, seen=seen):
            output = module(X[rows])
            seen.append(output.dtype)
            return output.float().square().mean()

        config = TrainingConfig(steps=2, batch_size=4, precision=precision)
        train(module, loss, 20, config, seed=0, device="cpu", progress=NullProgress())
        assert module.weight.dtype == torch.float32
        kinds[precision] = seen[-1]
    assert kinds == {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}


def test_a_module_is_compiled_for_the_training_only_where_it_is_asked_for(monkeypatch):
    compiled = []

    def compile_in_place(module):
        compiled.append(module)
        module._compiled_call_impl = module._call_impl

    monkeypatch.setattr(nn.Module, "compile", compile_in_place)
    for how in ("auto", "off"):
        Trained(replace(CONFIG, compile=how))
    assert compiled == []
    run = Trained(replace(CONFIG, compile="on"))
    assert compiled == [run.denoiser]
    assert run.denoiser._compiled_call_impl is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0"),
        ({"clip": float("nan")}, "clip must be at least 0, got nan"),
        ({"ema": 1.0}, r"ema is a decay in \[0, 1\), got 1.0"),
        ({"decay": "linear"}, "decay must be one of .*'cosine', 'none'.*got 'linear'"),
        ({"precision": "float16"}, "precision must be one of .*'bfloat16'.*got 'float16'"),
        ({"compile": True}, "compile must be one of .*'on', 'off'.*got True"),
    ],
)
def test_impossible_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)


def test_there_must_be_rows_and_updates_between_checkpoints():
    for settings in ({"x": X[:0]}, {"checkpoint_every": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Trained(**settings)


def fail(call, at):
    if call == at:
        raise RuntimeError("the machine went down")


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, clip=None, decay="none", ema=0.0)])
def test_a_killed_training_goes_on_from_its_last_checkpoint_and_ends_the_same(tmp_path, config):
    whole = Trained(config)
    killed = Trained(
        config, at=lambda call: fail(call, 17), checkpoints=tmp_path, checkpoint_every=7
    )
    assert str(killed.error) == "the machine went down"
    assert step_of(tmp_path) == 14
    torch.rand(3)  # the global state plays no part
    resumed = Trained(config, checkpoints=tmp_path, checkpoint_every=7)
    assert len(resumed.rows) == 30 - 14
    for ours, theirs in zip(resumed.rows, whole.rows[14:], strict=True):
        assert torch.equal(ours, theirs)
    assert resumed == whole
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_training_killed_again_and_again_ends_the_same(tmp_path):
    for _ in range(6):
        Trained(at=lambda call: fail(call, 7), checkpoints=tmp_path, checkpoint_every=5)
    assert step_of(tmp_path) == 30
    done = Trained(at=lambda call: fail(call, 0), checkpoints=tmp_path)  # nothing is left to do
    assert done.rows == []
    assert done == Trained()


def test_checkpoints_change_nothing(tmp_path):
    assert Trained(checkpoints=tmp_path, checkpoint_every=1) == Trained()


def test_ctrl_c_leaves_a_checkpoint_of_a_whole_update(tmp_path):
    with keyboard_interrupts():
        stopped = Trained(
            at=lambda call: signal.raise_signal(signal.SIGINT) if call == 11 else None,
            checkpoints=tmp_path,
        )
        assert isinstance(stopped.error, KeyboardInterrupt)
        assert len(stopped.rows) == step_of(tmp_path) == 12
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert Trained(checkpoints=tmp_path) == Trained()


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def twice(call):
        if call == 11:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with keyboard_interrupts():
        stopped = Trained(at=twice, checkpoints=tmp_path, checkpoint_every=10)
        assert isinstance(stopped.error, KeyboardInterrupt)
    assert step_of(tmp_path) == 10
    assert Trained(checkpoints=tmp_path) == Trained()


def test_ctrl_c_at_the_last_update_is_not_lost(tmp_path):
    class Late(NullProgress):
        def metrics(self, stage, step, **values):
            if step == 29:
                signal.raise_signal(signal.SIGINT)

    with keyboard_interrupts():
        assert isinstance(Trained(checkpoints=tmp_path, progress=Late()).error, KeyboardInterrupt)
    assert step_of(tmp_path) == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here;"),
        (
            {"config": replace(CONFIG, learning_rate=0.5)},
            "learning_rate is 0.001 there and 0.5 here;",
        ),
        ({"x": X[:19]}, "n_rows is 20 there and 19 here;"),
        ({"stage": "other"}, "stage is diffusion there and other here;"),
        ({"hidden": 9}, r"weights.network.network.0.weight is \[8, 3\] there and \[9, 3\] here"),
        ({"facts": {"data": "abc"}}, "data is 123 there and abc here;"),
        ({"facts": {}}, "data is 123 there and nothing here;"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, settings, message):
    Trained(checkpoints=tmp_path, facts={"data": "123"})
    with pytest.raises(
        ValueError, match=f"holds the checkpoint of another training: .*{message}"
    ) as caught:
        Trained(**{"facts": {"data": "123"}, **settings}, checkpoints=tmp_path)
    assert "choose another folder for checkpoints, or remove this one" in str(caught.value)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    Trained(checkpoints=tmp_path)
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    for content in (whole[:-100], b"", b"not a checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(
            DamagedFile, match=r"is damaged or no checkpoint: .* Remove it to train anew"
        ):
            Trained(checkpoints=tmp_path)
    save_weights(path, {"a": torch.zeros(1)})
    with pytest.raises(DamagedFile, match="is damaged or no checkpoint"):
        Trained(checkpoints=tmp_path)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, bad):
    config = TrainingConfig(steps=200, batch_size=2)
    module = nn.Linear(1, 1)
    calls = iter(range(200))

    def loss(rows, generator):
        return module.weight.sum() * (bad if next(calls) == 25 else 1.0)

    with pytest.raises(
        FloatingPointError,
        match=r"training made-up failed: loss .* at step 28 .*lower learning_rate",
    ):
        train(
            module,
            loss,
            4,
            config,
            seed=0,
            device="cpu",
            progress=NullProgress(),
            stage="made-up",
            checkpoints=tmp_path,
            checkpoint_every=10,
        )
    assert step_of(tmp_path) == 20  # the last one with finite weights
