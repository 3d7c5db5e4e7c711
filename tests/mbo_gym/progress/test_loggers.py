"""Where metrics go: JSON lines, TensorBoard's own reader, a stand-in for wandb."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest

from mbo_gym.errors import MissingDependency, UnknownId
from mbo_gym.progress.loggers import JsonLinesLogger, TensorBoardLogger, WandbLogger, make_loggers


class FakeRun:
    """What `wandb.init` returns, as far as we use it; its steps are its own, not ours."""

    def __init__(self):
        self.defined, self.logged, self.finished = [], [], 0

    def define_metric(self, name, step_metric=None):
        self.defined.append((name, step_metric))

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    """Put a module called wandb in place that notes what it was started with."""
    fake = SimpleNamespace(run=FakeRun(), started=[])

    def init(**arguments):
        fake.started.append(arguments)
        return fake.run

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def scalars(folder):
    """Return what TensorBoard reads: {tag: [(step, value), ..]}."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_json_lines_are_on_disk_at_once(tmp_path):
    logger = JsonLinesLogger(tmp_path / "metrics.jsonl")
    logger.log("surrogate", 0, {"loss": 1.5})
    logger.log("search", 10, {"prediction": -2.0, "action": 0.25})
    text = (tmp_path / "metrics.jsonl").read_text()  # before it is closed
    logger.close()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"stage": "surrogate", "step": 0, "loss": 1.5},
        {"stage": "search", "step": 10, "prediction": -2.0, "action": 0.25},
    ]


def test_what_is_not_finite_is_null_in_json(tmp_path):
    logger = JsonLinesLogger(tmp_path / "metrics.jsonl")
    logger.log("s", 1, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.0})
    logger.close()
    line = '{"stage": "s", "step": 1, "a": null, "b": null, "c": null, "d": 0.0}\n'
    assert (tmp_path / "metrics.jsonl").read_text() == line


def test_a_file_is_there_also_without_metrics_and_replaces_an_older_one(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("old")
    JsonLinesLogger(tmp_path / "metrics.jsonl").close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_tensorboard_reads_what_was_logged(tmp_path, capfd):
    pytest.importorskip("tensorboard")
    logger = TensorBoardLogger(tmp_path / "events")
    logger.log("surrogate", 0, {"loss": 1.5})
    logger.log("surrogate", 7, {"loss": 0.5, "error": 2.0})
    logger.log("ascent", 0, {"prediction": -3.0})
    logger.close()
    assert scalars(tmp_path / "events") == {
        "surrogate/loss": [(0, 1.5), (7, 0.5)],
        "surrogate/error": [(7, 2.0)],
        "ascent/prediction": [(0, -3.0)],
    }
    assert capfd.readouterr().out == ""


def test_wandb_gets_each_stage_over_its_own_steps(tmp_path, wandb):
    logger = WandbLogger(tmp_path, "grad on Branin", {"steps": 11})
    (started,) = wandb.started
    expected = {
        "project": "mbo-gym",
        "name": "grad on Branin",
        "dir": str(tmp_path),
        "config": {"steps": 11},
    }
    assert started == expected
    logger.log("surrogate", 50, {"loss": 1.5})
    logger.log("ascent", 0, {"prediction": -3.0, "size": 2.0})
    logger.log("surrogate", 60, {"loss": 1.0})
    assert wandb.run.logged == [
        {"surrogate/step": 50, "surrogate/loss": 1.5},
        {"ascent/step": 0, "ascent/prediction": -3.0, "ascent/size": 2.0},
        {"surrogate/step": 60, "surrogate/loss": 1.0},
    ]
    assert wandb.run.defined == [
        ("surrogate/step", None),
        ("surrogate/*", "surrogate/step"),
        ("ascent/step", None),
        ("ascent/*", "ascent/step"),
    ]
    assert wandb.run.finished == 0
    logger.close()
    assert wandb.run.finished == 1


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("torch.utils.tensorboard", "tensorboard", "report"), ("wandb", "wandb", "wandb")],
)
def test_a_library_that_is_not_there_is_named_with_its_extra(
    tmp_path, monkeypatch, module, name, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependency, match=rf"This needs {name}, .* pip install 'mbo-gym\[{extra}\]'"
    ):
        make_loggers([name], tmp_path, run_name="run", config={})
    assert os.listdir(tmp_path) == []


def test_the_named_loggers_are_made_for_the_runs_folder(tmp_path, wandb):
    pytest.importorskip("tensorboard")
    loggers = make_loggers(["tensorboard", "wandb"], tmp_path, run_name="run", config={"k": 3})
    assert [type(logger) for logger in loggers] == [TensorBoardLogger, WandbLogger]
    for logger in loggers:
        logger.log("s", 2, {"a": 4.0})
        logger.close()
    assert scalars(tmp_path / "tensorboard") == {"s/a": [(2, 4.0)]}
    assert wandb.started[0]["name"] == "run"
    assert make_loggers([], tmp_path, run_name="run", config={}) == []


def test_an_unknown_logger_opens_nothing(tmp_path, wandb):
    with pytest.raises(
        UnknownId, match=r"There is no logger 'tensorbord'\. Did you mean tensorboard\?"
    ):
        make_loggers(["wandb", "tensorbord"], tmp_path, run_name="run", config={})
    assert wandb.started == []


def test_when_one_logger_fails_those_before_it_are_closed(tmp_path, monkeypatch, wandb):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependency):
        make_loggers(["wandb", "tensorboard"], tmp_path, run_name="run", config={})
    assert wandb.run.finished == 1
