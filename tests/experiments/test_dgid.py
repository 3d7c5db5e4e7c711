"""The study of DGID: curves, counts, resumption and tables, on water that is not simulated."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from diffusion.dgid import DGID
from experiments.studies import dgid
from experiments.studies.fluid import samples, searches
from experiments.studies.fluid.outcomes import AT, Outcome, append, expected_best, markdown, read
from experiments.studies.fluid.priors import ScoreVAE
from experiments.studies.fluid.samples import Form, Trial, energy_of
from mbo_gym.nn.vae import VAETraining, fit_vae
from mbo_gym.problem.oracle import MeteredOracle

TASK = "FluidRamp-MPM-v0"


def _easy(self, x):
    return np.exp(-((x - 0.3) ** 2).mean(axis=1))


@pytest.fixture
def trial(monkeypatch):
    """Return a trial with light priors; the score falls with the bend."""
    light = replace(DGID.PRESETS["light"], particles=False)
    monkeypatch.setattr(DGID, "PRESETS", {**DGID.PRESETS, "conditional": light})
    monkeypatch.setattr(searches.FastOracle, "_score", _easy)
    return Trial(TASK, 0)


def test_the_expected_best_is_the_mean_over_all_choices():
    scores = np.array([0.3, 0.9, 0.1, 0.5], dtype=np.float32)
    for k, expected in enumerate(expected_best(scores), start=1):
        chosen = [max(choice) for choice in itertools.combinations(scores.tolist(), k)]
        assert expected == pytest.approx(np.mean(chosen))


@pytest.mark.parametrize("optimiser", ["CEM", "Adam"])
@pytest.mark.parametrize("start", ["flat", "random"])
def test_an_optimiser_spends_its_budget_and_climbs(trial, optimiser, start):
    curve = searches.searched(trial.mixed, optimiser, start, 0, 320)
    assert curve.shape == (320,)
    assert curve[-1] > curve[0] + 0.02
    again = searches.searched(trial.mixed, optimiser, start, 0, 320)
    np.testing.assert_array_equal(curve, again)


def test_random_tools_differ_by_seed_and_the_flat_one_is_flat(trial):
    first = [next(searches.search(trial.mixed, "Adam", "random", seed))[0] for seed in (0, 1)]
    middle = [pairs.reshape(2, 4, 16).mean(axis=(0, 1)) for pairs in first]
    assert np.abs(middle[0] - middle[1]).max() > 0.3
    flat = next(searches.search(trial.mixed, "Adam", "flat", 0))[0]
    np.testing.assert_allclose(flat[:4] + flat[4:], 0.0, atol=1e-12)


def test_forms_that_ask_the_simulator_while_they_sample_count_it(trial):
    plain = trial.sampled("mixed", Form(n=6), "forms", "plain")
    assert (plain.before, len(plain.best), plain.rows) == (0, 2, len(trial.mixed.dataset))
    particles = Form(energy="simulator", particles=(6, 3), n=6)
    assert trial.sampled("mixed", particles, "forms", "particles").before == 18
    form = Form("energy", "simulator", scale=1.0, n=2, steps=6)
    guided = trial.sampled("mixed", form, "forms", "guided")
    method = trial.prior("mixed")
    rungs = method.model.rungs(6)[:-1]
    n_guided = int((rungs <= method.config.energy.max_level).sum())
    assert 0 < n_guided < 6
    assert guided.before == n_guided * 8 * 2
    assert (method.config.guidance, method.config.particles) == ("conditional", False)


def test_priors_are_trained_once_and_on_their_rows(trial):
    assert trial.prior("mixed", surrogate=True) is trial.prior("mixed")
    assert trial.prior("matching").config.rows == "matching"
    kinds = ("matching", "non_matching", "mixed", "relabelled")
    matching, others, mixed, relabelled = (trial.n_rows(kind) for kind in kinds)
    assert matching + others == mixed == relabelled == len(trial.mixed.dataset)
    assert len(np.unique(trial.prior("relabelled").problem.dataset.context, axis=0)) == 1


def test_the_simulators_energy_has_the_slope_of_its_score(trial):
    method = trial.prior("mixed")
    own = energy_of(method, lambda x: _easy(None, x), np.random.default_rng(0), n_pairs=400)
    z = torch.zeros(2, 16)
    lower = z - 0.1 * own.gradient(z) / own.gradient(z).norm(dim=1, keepdim=True)
    assert (own.value(lower) < own.value(z)).all()


def test_the_learned_simulators_gradient_is_that_of_its_scores(trial):
    from mbo_gym.surrogates.gns.network import FluidNetwork, NetworkConfig

    torch.manual_seed(0)
    network = FluidNetwork(NetworkConfig(width=4, rounds=1))
    learned = searches.LearnedSimulator(network, trial.mixed)
    learned.scene = replace(learned.scene, seconds=0.15)
    x = np.zeros((2, 16))
    gradient = learned.energy_gradient(x)
    assert gradient.shape == (2, 16)
    method = trial.prior("mixed")
    own = samples.learned_energy(method, learned)
    z = method.encoder.encode_tensor(torch.from_numpy(x.astype(np.float32)))
    scale = trial.mixed.dataset.x.std(axis=0)
    np.testing.assert_allclose(own.gradient(z).numpy(), gradient * scale, rtol=0.02, atol=1e-6)
    assert own.value(z).shape == (2,)
    form = Form("energy", "learned", scale=1.0, n=2, steps=4)
    guided = trial.sampled("mixed", form, "learned", "guided", learned)
    assert guided.before == 0
    assert guided.gradients == guided.rollouts > 0


def test_a_vae_under_a_score_makes_what_has_that_score():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(400, generator=generator)
    z = torch.stack([y, -y], 1) + 0.1 * torch.randn(400, 2, generator=generator)
    vae = ScoreVAE(2, latent=2, width=16)
    vae.initialise(generator)
    fit_vae(vae, torch.cat([z, y[:, None]], 1), VAETraining(400, 64, 1e-2), generator)
    noise = torch.randn(50, 2, generator=generator)
    made = vae.decode(torch.cat([noise, torch.full((50, 1), 1.5)], 1)).mean(dim=0)
    assert made.tolist() == pytest.approx([1.5, -1.5], abs=0.3)


def test_a_study_goes_on_where_it_stopped(trial, tmp_path, monkeypatch):
    asked = []

    def question(name):
        def answer(trial):
            asked.append(name)
            yield Outcome(TASK, name, "a form", trial.seed, (0.5, 0.6), 0.4, 12)

        return answer

    monkeypatch.setattr(dgid, "QUESTIONS", {name: question(name) for name in ("forms", "rows")})
    output = tmp_path / "kept" / "dgid.jsonl"
    dgid.run(TASK, 0, ["forms"], output)
    dgid.run(TASK, 0, ["forms", "rows"], output)
    dgid.run(TASK, 1, ["forms"], output)
    assert asked == ["forms", "rows", "forms"]
    kept = read(output)
    assert kept[0] == Outcome(TASK, "forms", "a form", 0, (0.5, 0.6), 0.4, 12)
    text = "\n".join(dgid.summary(kept))
    best = mbo_gym.make_task(TASK).dataset.y.max()
    assert f"best_stored {best:.3f}" in text
    assert "| a form | 2 | 12 | 0 |  | 0.600 | 0.400 |" in text


def test_a_table_has_means_with_intervals_over_seeds(tmp_path):
    values = (0.4, 0.5, 0.6)
    outcomes = [Outcome(TASK, "forms", "CEM", i, (0.1, v)) for i, v in enumerate(values)]
    outcomes.append(Outcome(TASK, "forms", "DGID", 0, (0.7,), 0.3, 9, 64, 10, 3))
    append(tmp_path / "o.jsonl", outcomes)
    text = list(markdown(read(tmp_path / "o.jsonl")))
    assert text[0] == "| search | seeds | rows | before | learned | 4 | mean of samples |"
    assert text[2] == "| CEM | 3 |  | 0 |  | 0.500 (0.400-0.600) |  |"
    assert text[3] == "| DGID | 1 | 9 | 64 | 10, 3 gradients |  | 0.300 |"
    assert AT[:2] == (1, 4)


def test_the_simulator_is_metered(trial):
    ask = searches.simulator(trial.mixed, 3)
    assert isinstance(ask, MeteredOracle)
    ask(np.zeros((3, 16), dtype=np.float32))
    with pytest.raises(mbo_gym.errors.BudgetExceeded):
        ask(np.zeros((1, 16), dtype=np.float32))


@pytest.mark.parametrize("question", ["particles", "strength"])
def test_a_question_is_answered_for_a_task_and_seed(trial, question):
    found = list(dgid.QUESTIONS[question](trial))
    assert {o.question for o in found} == {question}
    assert len({o.name for o in found}) == len(found) == 10
    if question == "particles":
        assert {o.before for o in found} == {0, dgid.PARTICLE_BUDGET}


def test_other_priors_are_sampled_in_the_same_forms(trial, monkeypatch):
    monkeypatch.setattr(dgid, "VAEPrior", lambda problem, seed: Shift(problem))
    monkeypatch.setattr(dgid, "GANPrior", lambda problem, seed: Shift(problem))
    found = list(dgid.priors(trial))
    assert [o.name for o in found[3:6]] == [
        f"VAE, {form}" for form in ("unguided", "conditional", "particles, simulator")
    ]
    assert [o.before for o in found[3:6]] == [0, 0, dgid.PARTICLE_BUDGET]


class Shift:
    """A prior whose designs are its noise."""

    latent = 16

    def __init__(self, problem):
        self.encoder = mbo_gym.make_encoder(problem, "z_score")

    def designs(self, noise, y):
        return noise


def test_the_recorded_tables_are_those_of_the_recorded_outcomes():
    outcomes = read(dgid.OUTPUT)
    assert outcomes
    assert dgid.PAGE.read_text(encoding="utf-8") == "\n".join(dgid.summary(outcomes)) + "\n"
    keys = [(o.task, o.question, o.name, o.seed) for o in outcomes]
    assert len(set(keys)) == len(keys)
