"""Old module names: they still import, with a DeprecationWarning that names the new place."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from mbo_gym.optional import optional_import

__all__ = ["MODULES", "NAMES", "forwarded", "install"]

MODULES = {
    "agents.gradient.ranking": "agents.gradient.ram",
    "agents.rl.episodes": "agents.rl.collect",
    "agents.rl.model_selection": "agents.rl.selection",
    "agents.rl.offline": "agents.rl.learner",
    "agents.rl.online": "agents.online.agents",
    "agents.rl.online_config": "agents.online.configs",
    "agents.rl.policy_guided_search": "agents.rl.pgs",
    "agents.rl.sb3_env": "agents.online.env",
    "agents.rl.search_process": "mbo_gym.envs.process",
    "diffusion.config": "diffusion.models.config",
    "diffusion.denoiser": "diffusion.core.denoiser",
    "diffusion.design_model": "diffusion.models.designs",
    "diffusion.guidance": "diffusion.core.guidance",
    "diffusion.losses": "diffusion.core.losses",
    "diffusion.networks": "diffusion.core.networks",
    "diffusion.samplers": "diffusion.core.samplers",
    "diffusion.schedule": "diffusion.core.schedule",
    "diffusion.training": "mbo_gym.nn.training",
    "diffusion.trajectory_model": "diffusion.models.trajectories",
    "mbo_gym.benchmark.analysis": "mbo_gym.benchmark.analysis.build",
    "mbo_gym.benchmark.cells": "mbo_gym.benchmark.analysis.over_seeds",
    "mbo_gym.benchmark.charts": "mbo_gym.benchmark.report.charts",
    "mbo_gym.benchmark.charts_svg": "mbo_gym.benchmark.report.svg",
    "mbo_gym.benchmark.configs": "mbo_gym.benchmark.plan.configs",
    "mbo_gym.benchmark.executors": "mbo_gym.benchmark.execute.local",
    "mbo_gym.benchmark.external": "mbo_gym.benchmark.execute.external",
    "mbo_gym.benchmark.grid": "mbo_gym.benchmark.plan.grid",
    "mbo_gym.benchmark.html": "mbo_gym.benchmark.report.html",
    "mbo_gym.benchmark.html_cells": "mbo_gym.benchmark.report.html_values",
    "mbo_gym.benchmark.live": "mbo_gym.benchmark.execute.live",
    "mbo_gym.benchmark.notes": "mbo_gym.benchmark.analysis.notes",
    "mbo_gym.benchmark.published": "mbo_gym.benchmark.analysis.published",
    "mbo_gym.benchmark.ray_executor": "mbo_gym.benchmark.execute.ray",
    "mbo_gym.benchmark.remarks": "mbo_gym.benchmark.analysis.remarks",
    "mbo_gym.benchmark.results": "mbo_gym.benchmark.execute.results",
    "mbo_gym.benchmark.runner": "mbo_gym.benchmark.execute.runner",
    "mbo_gym.benchmark.sheets": "mbo_gym.benchmark.report.sheets",
    "mbo_gym.benchmark.standings": "mbo_gym.benchmark.analysis.standings",
    "mbo_gym.benchmark.statistics": "mbo_gym.benchmark.analysis.statistics",
    "mbo_gym.benchmark.text": "mbo_gym.benchmark.report.text",
    "mbo_gym.benchmark.worker": "mbo_gym.benchmark.execute.worker",
    "mbo_gym.cli_benchmark": "mbo_gym.cli.benchmark",
    "mbo_gym.data.shards": "mbo_gym.data.design_bench",
    "mbo_gym.data.store": "mbo_gym.files.store",
    "mbo_gym.data.table": "mbo_gym.files.table",
    "mbo_gym.data.weights": "mbo_gym.files.weights",
    "mbo_gym.dataset": "mbo_gym.problem.dataset",
    "mbo_gym.design_files": "mbo_gym.files.designs",
    "mbo_gym.distances": "mbo_gym.evaluation.distances",
    "mbo_gym.encoding": "mbo_gym.encoders.registry",
    "mbo_gym.files.columns": "mbo_gym.files.design_columns",
    "mbo_gym.forest": "mbo_gym.oracles.forest",
    "mbo_gym.local_trajectories": "mbo_gym.trajectories.neighbours",
    "mbo_gym.loggers": "mbo_gym.progress.loggers",
    "mbo_gym.method": "mbo_gym.methods.base",
    "mbo_gym.oracle": "mbo_gym.problem.oracle",
    "mbo_gym.pictures": "mbo_gym.runs.picture",
    "mbo_gym.provenance": "mbo_gym.runs.provenance",
    "mbo_gym.runs.propose": "mbo_gym.batch.propose",
    "mbo_gym.score_weights": "mbo_gym.methods.score_weights",
    "mbo_gym.search": "mbo_gym.methods.ascent",
    "mbo_gym.sequence_vae": "mbo_gym.nn.sequence_vae",
    "mbo_gym.space": "mbo_gym.problem.space",
    "mbo_gym.tables": "mbo_gym.cli.tables",
    "mbo_gym.task": "mbo_gym.problem.task",
    "mbo_gym.tasks.csv": "mbo_gym.tasks.table_file",
    "mbo_gym.terminal": "mbo_gym.cli.terminal",
    "mbo_gym.vae": "mbo_gym.nn.vae",
    "mbo_gym.vae_encoder": "mbo_gym.encoders.vae",
}
"""Old module: the module that has taken its place."""

NAMES = {
    "agents.gradient.coms.coms_surrogate": "mbo_gym._moved",
    "agents.gradient.iom.iom_surrogate": "mbo_gym._moved",
    "agents.gradient.nemo.nemo_surrogate": "mbo_gym._moved",
    "agents.gradient.ranking.ram_listnet_surrogate": "mbo_gym._moved",
    "agents.gradient.ranking.ram_rankcosine_surrogate": "mbo_gym._moved",
    "agents.gradient.ranking.ram_surrogate": "mbo_gym._moved",
    "agents.gradient.roma.roma_surrogate": "mbo_gym._moved",
    "mbo_gym.benchmark.analysis.Standing": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.export.d3rlpy.import_d3rlpy": "mbo_gym._moved",
    "mbo_gym.export.d3rlpy.import_rl_library": "mbo_gym._moved",
    "mbo_gym.pictures.import_matplotlib": "mbo_gym._moved",
    "agents.rl.offline.Algorithm": "agents.rl.learner_config",
    "agents.rl.offline.Episodes": "agents.rl.data",
    "agents.rl.offline.OfflineConfig": "agents.rl.learner_config",
    "agents.rl.search_process.ProcessConfig": "agents.rl.pgs:SearchEnvConfig",
    "agents.rl.search_process.SearchProcess": "mbo_gym.envs.process:Process",
    "agents.rl.search_process.fit_surrogates": "mbo_gym.surrogates.fitting:fit_guide_and_judge",
    "diffusion.denoiser.EMA": "mbo_gym.nn.ema",
    "diffusion.networks.seeded": "mbo_gym.nn.weights",
    "mbo_gym.benchmark.analysis.Analysis": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.analysis.Entry": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.analysis.Failure": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.analysis.MEASURES": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.analysis.Problem": "mbo_gym.benchmark.analysis.model:TaskSetting",
    "mbo_gym.benchmark.analysis.RANKINGS": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.analysis.Record": "mbo_gym.benchmark.record:CellRecord",
    "mbo_gym.benchmark.cells.FACTS": "mbo_gym.benchmark.analysis.over_seeds:DIAGNOSTICS",
    "mbo_gym.benchmark.cells.Record": "mbo_gym.benchmark.record:CellRecord",
    "mbo_gym.benchmark.cells.mean_facts": "mbo_gym.benchmark.analysis.over_seeds:mean_diagnostics",
    "mbo_gym.benchmark.cells.problem_names": "mbo_gym.benchmark.analysis.over_seeds:task_names",
    "mbo_gym.benchmark.grid.CONTROLS": "mbo_gym._moved",
    "mbo_gym.benchmark.html_cells.CELLS": "mbo_gym.benchmark.report.html_values:VALUES",
    "mbo_gym.benchmark.notes.Record": "mbo_gym.benchmark.record:CellRecord",
    "mbo_gym.benchmark.runner.Show": "mbo_gym.benchmark.execute.runner:RunObserver",
    "mbo_gym.benchmark.sheets.Cell": "mbo_gym.benchmark.report.sheets:Value",
    "mbo_gym.benchmark.sheets.problem_sheet": "mbo_gym.benchmark.report.sheets:task_sheet",
    "mbo_gym.benchmark.text.LEFT_OUT_FIRST": (
        "mbo_gym.benchmark.report.text:LEADERBOARD_LEFT_OUT_FIRST"
    ),
    "mbo_gym.benchmark.worker.finite": "mbo_gym.benchmark.record",
    "mbo_gym.benchmark.executors.Executor": "mbo_gym.benchmark.execute.executor",
    "mbo_gym.benchmark.executors.Lost": "mbo_gym.benchmark.execute.executor",
    "mbo_gym.benchmark.executors.Outcome": "mbo_gym.benchmark.execute.executor",
    "mbo_gym.benchmark.executors.available_cpus": "mbo_gym.benchmark.execute.executor",
    "mbo_gym.benchmark.executors.make_executor": "mbo_gym.benchmark.execute.executor",
    "mbo_gym.benchmark.standings.CEILINGS": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.standings.Scale": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.benchmark.standings.Standing": "mbo_gym.benchmark.analysis.model",
    "mbo_gym.cli_benchmark.OptionPairs": "mbo_gym.cli.benchmark:BenchmarkOptionPairs",
    "mbo_gym.cli.OptionPairs": "mbo_gym.cli.app",
    "mbo_gym.cli.data_app": "mbo_gym.cli.app",
    "mbo_gym.cli.data_get": "mbo_gym.cli.app",
    "mbo_gym.cli.data_list": "mbo_gym.cli.app",
    "mbo_gym.cli.data_path": "mbo_gym.cli.app",
    "mbo_gym.cli.export": "mbo_gym.cli.app",
    "mbo_gym.cli.list_command": "mbo_gym.cli.app",
    "mbo_gym.cli.run": "mbo_gym.cli.app",
    "mbo_gym.cli.show": "mbo_gym.cli.app",
    "mbo_gym.data.table.DELIMITERS": "mbo_gym.files.delimited",
    "mbo_gym.data.table.N_SNIFFED_ROWS": "mbo_gym.files.delimited",
    "mbo_gym.data.table.read_sequences": "mbo_gym.files.sequences",
    "mbo_gym.encoding.Chain": "mbo_gym.encoders.scaling",
    "mbo_gym.encoding.Encoder": "mbo_gym.encoders.base",
    "mbo_gym.encoding.Logits": "mbo_gym.encoders.letters",
    "mbo_gym.encoding.MinMax": "mbo_gym.encoders.scaling",
    "mbo_gym.encoding.OneHot": "mbo_gym.encoders.letters",
    "mbo_gym.encoding.ZScore": "mbo_gym.encoders.scaling",
    "mbo_gym.encoding.require_categorical": "mbo_gym.encoders.base",
    "mbo_gym.envs.NAMESPACE": "mbo_gym.tasks.registry",
    "mbo_gym.envs.register_env": "mbo_gym.tasks.registry",
    "mbo_gym.evaluation.N_FIRST": "mbo_gym.evaluation.scoring",
    "mbo_gym.evaluation.N_SEARCH": "mbo_gym.evaluation.search",
    "mbo_gym.envs.process.DesignProcess": "mbo_gym.envs.process:Process",
    "mbo_gym.method.METHODS": "mbo_gym.methods.registry",
    "mbo_gym.method.list_methods": "mbo_gym.methods.registry",
    "mbo_gym.method.make_method": "mbo_gym.methods.registry",
    "mbo_gym.method.method_class": "mbo_gym.methods.registry",
    "mbo_gym.oracle.FunctionOracle": "mbo_gym.oracles.function",
    "mbo_gym.oracle.TableOracle": "mbo_gym.oracles.table",
    "mbo_gym.oracle.design_codes": "mbo_gym.oracles.table",
    "mbo_gym.provenance.memory_gb": "mbo_gym.machine",
    "mbo_gym.provenance.peak_memory_mb": "mbo_gym.machine",
    "mbo_gym.provenance.reset_peak_memory": "mbo_gym.machine",
    "mbo_gym.surrogates.mlp.linear_layers": "mbo_gym.nn.weights",
    "mbo_gym.tasks.csv.ScoreFunction": "mbo_gym.oracles.stand_in",
    "mbo_gym.tasks.csv.csv_info": "mbo_gym.tasks.table_file:table_info",
    "mbo_gym.tasks.csv.make_csv_task": "mbo_gym.tasks.table_file:make_table_task",
    "mbo_gym.tasks.csv.stand_in_oracle": "mbo_gym.oracles.stand_in",
    "mbo_gym.tasks.superconductor.ELEMENTS": "mbo_gym.data.superconductor",
    "mbo_gym.tasks.superconductor.KELVIN_RANGE": "mbo_gym.data.superconductor",
    "mbo_gym.tasks.superconductor.N_FULL": "mbo_gym.data.superconductor",
    "mbo_gym.tasks.superconductor.read_csv": "mbo_gym.data.superconductor",
    "mbo_gym.tasks.tfbind.BASES": "mbo_gym.data.tfbind",
    "mbo_gym.tasks.tfbind.TFBIND10_RANGE": "mbo_gym.data.tfbind",
    "mbo_gym.tasks.tfbind.table_task": "mbo_gym.tasks.table",
    "mbo_gym.trajectories.Randomness": "mbo_gym.trajectories.samplers",
    "mbo_gym.vae.draw_weights": "mbo_gym.nn.weights",
}
"""Old name: the module it is in now, ``module:name`` where it is renamed too."""


REMOVED = {
    "agents.gradient.ascent.Ascent": "mbo_gym.methods.fitted.Fitted and ascend_from_best",
    "agents.gradient.ascent.SearchedWhileFitted": "mbo_gym.Method",
    "agents.gradient.ascent.SurrogateSearch": "mbo_gym.Method and mbo_gym.methods.fitted.Fitted",
    "agents.gradient.ict.CoTaughtProxies": "agents.gradient.ict.ICT",
    "agents.gradient.roma.AdaptedSurrogate": "agents.gradient.roma.RoMA",
    "agents.gradient.tri_mentoring.MentoredProxies": "agents.gradient.tri_mentoring.TriMentoring",
    "agents.gradient.tuned.TunedAscent": "mbo_gym.Method",
    "agents.gradient.tuned.TunedProxies": "mbo_gym.nn.mlp.BatchedMLP",
    "agents.rl.online.OnlineAgent": "agents.online.agents.train_policy",
    "agents.rl.online_config.OffPolicyConfig": "agents.online.configs.TrainingConfig",
    "agents.rl.online_config.OnlineConfig": "agents.online.configs.TrainingConfig",
    "agents.rl.policy_guided_search.SHORT": "the presets paper_short and released_short of pgs",
    "diffusion.config.DiffusionConfig": "NoiseConfig and SamplingConfig of diffusion.models.config",
    "diffusion.proposals.Predict": "mbo_gym.methods.fitted.Fitted.predict",
    "diffusion.proposals.fitted_filter": "mbo_gym.methods.filters.fit_filter",
    "diffusion.proposals.order_candidates": "mbo_gym.methods.filters.filtered",
    "diffusion.proposals.predictor": "mbo_gym.methods.fitted.Fitted.predict",
    "mbo_gym.surrogates.StackedMLP": "mbo_gym.nn.mlp.BatchedMLP",
    "mbo_gym.surrogates.mlp.StackedMLP": "mbo_gym.nn.mlp.BatchedMLP",
}
"""Old names without a successor of the same shape: what to use in their place."""

CONTROLS = ("random", "top_k", "top_k_noise", "mean_design", "random_filtered")
"""Names of the controls; a grid takes those methods whose class has `CONTROL`."""


def import_rl_library(module: str) -> Any:
    """Import a module of d3rlpy or stable-baselines3; `optional_import` has taken its place."""
    return optional_import(module, "rl")


def import_d3rlpy() -> Any:
    """Import d3rlpy; `optional_import` has taken its place."""
    return optional_import("d3rlpy", "rl")


def import_matplotlib(module: str = "matplotlib") -> Any:
    """Import a module of matplotlib; `optional_import` has taken its place."""
    return optional_import(module, "report")


def coms_surrogate(**config: Any) -> Any:
    """Build COMs' surrogate; ``make_surrogate("coms", **config)`` has taken its place."""
    return _surrogate("coms", config)


def iom_surrogate(**config: Any) -> Any:
    """Build IOM's surrogate; ``make_surrogate("iom", **config)`` has taken its place."""
    return _surrogate("iom", config)


def nemo_surrogate(**config: Any) -> Any:
    """Build NEMO's surrogate; ``make_surrogate("nemo", **config)`` has taken its place."""
    return _surrogate("nemo", config)


def roma_surrogate(**config: Any) -> Any:
    """Build RoMA's surrogate; ``make_surrogate("roma", **config)`` has taken its place."""
    return _surrogate("roma", config)


def ram_surrogate(**config: Any) -> Any:
    """Build RaM's surrogate; ``make_surrogate("ram", **config)`` has taken its place."""
    return _surrogate("ram", config)


def ram_listnet_surrogate(**config: Any) -> Any:
    """Build RaM's surrogate; ``make_surrogate("ram_listnet", **config)`` has taken its place."""
    return _surrogate("ram_listnet", config)


def ram_rankcosine_surrogate(**config: Any) -> Any:
    """Build RaM's surrogate; ``make_surrogate("ram_rankcosine", **config)`` has taken its place."""
    return _surrogate("ram_rankcosine", config)


def _surrogate(name: str, config: dict[str, Any]) -> Any:
    return import_module("mbo_gym.surrogates.registry").make_surrogate(name, **config)


def forwarded(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of an old module, which finds each of its names in its new place.

    Args:
        module: Name of the old module.
    """

    def __getattr__(name: str) -> Any:
        if f"{module}.{name}" in REMOVED:
            return _removed(module, name)
        found = NAMES.get(f"{module}.{name}", MODULES.get(module))
        if name.startswith("__") or found is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        target, _, renamed = found.partition(":")
        new_name = renamed or name
        try:
            value = getattr(import_module(target), new_name)
        except AttributeError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None
        warnings.warn(
            f"{module}.{name} has moved. Fix the import: from {target} import {new_name}",
            DeprecationWarning,
            stacklevel=2,
        )
        return value

    return __getattr__


def _removed(module: str, name: str) -> type[Any]:
    """Return a stand-in for a name that is gone: it imports, and says what to use when called."""
    text = f"{module}.{name} is gone. Use {REMOVED[f'{module}.{name}']}."
    warnings.warn(text, DeprecationWarning, stacklevel=3)

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError(text)

    return type(name, (), {"__doc__": text, "__init__": refuse, "__init_subclass__": refuse})


class _Finder(MetaPathFinder, Loader):
    """Finds the old modules, after every other finder has found nothing."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old module, else None."""
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        """Give an old module its `__getattr__`."""
        new = MODULES[module.__name__]
        module.__doc__ = f"Moved to {new}."
        module.__getattr__ = forwarded(module.__name__)  # type: ignore[method-assign]
        module.__all__ = list(getattr(import_module(new), "__all__", ()))  # type: ignore[attr-defined]
        own = [key for key in NAMES if key.rpartition(".")[0] == module.__name__]
        module.__all__ += [key.rpartition(".")[2] for key in own]  # type: ignore[attr-defined]


def install() -> None:
    """Let the old modules be found, once for this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
