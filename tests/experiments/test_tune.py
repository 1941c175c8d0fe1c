"""The search for a recipe: what it asks for, what it gives up, what it calls the best."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

pytest.importorskip("optuna", reason="needs Optuna, which `make cluster` installs")

from shiftlab.cluster.engine import Ended
from shiftlab.errors import UserError
from shiftlab.experiments import sweep, tune
from shiftlab.experiments.node import Job
from shiftlab.experiments.recipes import Recipe, best_of
from shiftlab.experiments.tune import Search, Trials
from tests.helpers import ROOT
from tests.project import Project

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")
ASKED = Search("lenet", ("model=lenet", "seeds=[0,1,2]"), trials=12, minutes=60, faster=2, shifted=False, seed=0)


def recipe(experiment: str = "one", accuracy: float = 0.9, seconds: float = 1, shifted: float | None = None) -> Recipe:
    return Recipe(experiment, "fast", 0.01, 64, 2, None, 1, accuracy, shifted, seconds)


def metrics(accuracy: float, seconds: float) -> list[dict[str, float]]:
    """Of trainings with three seeds."""
    every = (accuracy - 0.01, accuracy, accuracy + 0.01), (seconds - 1, seconds, seconds + 1)
    return [{"validation/best accuracy": one, "train/seconds": other} for one, other in zip(*every, strict=True)]


def beside_others(recipes: Sequence[Recipe]) -> list[float]:
    """The same seconds that were taken there."""
    return [one.seconds for one in recipes]


def finish(
    search: Trials,
    accuracies: Sequence[float],
    alone: Callable[[Sequence[Recipe]], Sequence[float]] = beside_others,
) -> list[Job]:
    """Run the finalists of a search, which have these accuracies with all seeds; what ran."""
    jobs = []
    for job, accuracy in zip(search.finalists(alone), accuracies, strict=True):
        search.end(job.name, job.name, metrics(accuracy, 5))
        jobs.append(job)
    return jobs


def chosen(job: Job) -> dict[str, str]:
    """What a job sets of its model."""
    own = [choice for choice in job.choices if choice.startswith("++")]
    return dict(choice.removeprefix("++models.lenet.").split("=") for choice in own)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "STORAGE", f"sqlite:///{tmp_path}/tune.db")
    monkeypatch.chdir(ROOT)


def trials(asked: Search = ASKED) -> Trials:
    return Trials(asked, sweep.composed(asked.choices))


@pytest.mark.usefixtures("storage")
def test_recipe_of_the_model_comes_first_and_limits_the_time_of_others() -> None:
    search = trials()
    jobs = search.jobs()
    now, first, second, third, fourth = (next(jobs) for _ in range(5))
    assert now.name == f"{search.name}-now"
    assert now.choices == ASKED.choices
    assert now.targets == ("train@lenet-0", "train@lenet-1", "train@lenet-2")
    assert first.targets == fourth.targets == ("train@lenet-0",)
    guesses = [chosen(job) for job in (first, second, third)]
    # What one would try by hand, in half the 20 epochs.
    by_hand = {"recipe": "brief", "batch_size": "64", "epochs": "10", "initialisation": "xavier"}
    assert guesses == [{**by_hand, "lr": rate} for rate in ("0.01", "0.03", "0.003")]
    assert set(chosen(fourth)) == set(guesses[0])
    assert 1 <= int(chosen(fourth)["epochs"]) <= 12

    assert "98.00%" in search.end(first.name, first.name, metrics(0.98, 7))  # before what it is held against is known
    search.end(now.name, now.name, metrics(0.9, 10))
    search.end(second.name, second.name, metrics(0.95, 5))
    (finalist,) = finish(search, [0.94])  # the first took more than half the time
    assert finalist.targets == now.targets
    assert chosen(finalist) == guesses[1]
    found = search.found()
    assert [one.accuracy for one in found.best] == [pytest.approx(0.94)]
    assert found.now.accuracy == pytest.approx(0.9)
    assert len(found.trials) == 2


@pytest.mark.usefixtures("storage")
def test_search_goes_on_where_it_was_left() -> None:
    first = trials()
    jobs = first.jobs()
    now, done, left = next(jobs), next(jobs), next(jobs)
    first.end(now.name, now.name, metrics(0.9, 10))
    first.end(done.name, done.name, metrics(0.98, 2))
    again = trials()
    rest = list(again.jobs())
    assert again.ended == 1
    assert rest[0] == left
    assert len(rest) == ASKED.trials - 1
    assert now not in rest
    assert done not in rest
    assert trials(replace(ASKED, seed=1)).ended == 0


@pytest.mark.usefixtures("storage")
def test_training_that_falls_behind_is_given_up() -> None:
    search = trials()
    jobs = search.jobs()
    now = next(jobs)
    search.end(now.name, now.name, metrics(0.9, 100))
    for _ in range(tune.STARTUP):
        job = next(jobs)
        epochs = int(dict(choice.split("=") for choice in job.choices)["++models.lenet.epochs"])
        assert search.hopeless({job.name: [(epoch, 0.9) for epoch in range(1, epochs + 1)]}) == []
        search.end(job.name, job.name, metrics(0.9, 10))
    bad = next(jobs)
    epochs = int(dict(choice.split("=") for choice in bad.choices)["++models.lenet.epochs"])
    assert search.hopeless({}) == []
    assert search.hopeless({bad.name: [(epoch, 0.1) for epoch in range(1, epochs + 1)]}) == [bad.name]
    assert "given up" in search.end(bad.name, Ended(), [])
    finish(search, [0.9] * tune.FINALISTS)
    assert search.found().given_up == 1


@pytest.mark.usefixtures("storage")
def test_failed_trial_ends_nothing_but_without_the_models_own_recipe_there_is_no_search() -> None:
    search = trials()
    jobs = search.jobs()
    now, first = next(jobs), next(jobs)
    assert search.end(first.name, UserError("the loss is nan"), []) == "the loss is nan"
    with pytest.raises(UserError, match="no data"):
        search.end(now.name, UserError("no data"), [])


@pytest.mark.usefixtures("storage")
def test_nothing_as_fast_as_asked_for_is_said() -> None:
    search = trials()
    jobs = search.jobs()
    now, first, second = next(jobs), next(jobs), next(jobs)
    search.end(now.name, now.name, metrics(0.9, 10))
    search.end(first.name, first.name, metrics(0.9, 7))
    with pytest.raises(UserError, match="none of 1 trials trained in a 2th of the time"):
        finish(search, [])
    search.end(second.name, second.name, metrics(0.9, 6))  # beside others
    with pytest.raises(UserError, match="none of 2 trials trained in a 2th of the time"):
        finish(search, [], lambda _: [9.8, 5])


@pytest.mark.usefixtures("storage")
def test_time_does_not_matter_where_nobody_has_asked_for_it() -> None:
    search = trials(replace(ASKED, faster=None))
    jobs = search.jobs()
    now, first = next(jobs), next(jobs)
    search.end(now.name, now.name, metrics(0.9, 10))
    search.end(first.name, UserError("the loss is nan"), [])
    with pytest.raises(UserError, match="no trial has come to its end"):
        finish(search, [])
    slow = next(jobs)
    search.end(slow.name, slow.name, metrics(0.9, 100))
    finish(search, [0.95], lambda _: [10, 90])
    assert [one.alone for one in search.found().best] == [90]


@pytest.mark.usefixtures("storage")
def test_the_best_have_to_be_so_with_all_seeds_and_timed_alone() -> None:
    search = trials()
    jobs = search.jobs()
    now = next(jobs)
    search.end(now.name, now.name, metrics(0.9, 10))
    beside = {0.99: 6.5, 0.98: 5.5, 0.97: 5.9, 0.96: 5.1, 0.95: 5.3, 0.94: 4.9, 0.93: 4.8}
    names, choices = {}, {}
    for accuracy, seconds in beside.items():
        job = next(jobs)
        names[accuracy] = job.name
        choices[f"{job.name}-seeds"] = chosen(job)
        search.end(job.name, job.name, metrics(accuracy, seconds))
    timed = []

    def alone(recipes: Sequence[Recipe]) -> list[float]:
        every = [round(one.accuracy, 2) for one in recipes]
        timed.append(every)
        return [{0.9: 9.8, 0.97: 5, 0.95: 5}.get(accuracy, 4.7) for accuracy in every]

    finalists = finish(search, [0.95, 0.97, 0.96, 0.94], alone)
    assert timed == [[0.9, 0.98, 0.97, 0.96, 0.95], [0.9, 0.94, 0.93]]  # the first of all is far too slow
    assert [job.name for job in finalists] == [f"{names[accuracy]}-seeds" for accuracy in (0.98, 0.96, 0.94, 0.93)]
    assert all(chosen(job) == choices[job.name] for job in finalists)
    assert "null" in {chosen(job)["initialisation"] for job in finalists}
    found = search.found()
    (best,) = found.best
    assert best.experiment == f"{names[0.96]}-seeds"
    assert best.accuracy == pytest.approx(0.97)
    assert (best.alone, best.seeds) == (4.7, 3)
    assert str(found).endswith("| 4.7 s | 2.1 |")


def test_best_is_the_most_accurate_and_of_equals_the_fastest() -> None:
    ones = [recipe("a", 0.9, 1), recipe("b", 0.95, 3), recipe("c", 0.95, 2)]
    assert [one.experiment for one in best_of(ones)] == ["c"]


def test_best_in_two_things_are_those_that_none_beats() -> None:
    both = {"a": (0.99, 0.5), "b": (0.98, 0.7), "c": (0.97, 0.6), "d": (0.98, 0.6), "e": (0.9, 0.8)}
    ones = [recipe(name, accuracy, shifted=shifted) for name, (accuracy, shifted) in both.items()]
    assert [one.experiment for one in best_of(ones)] == ["a", "b", "e"]


@pytest.mark.slow
def test_trials_are_experiments_and_runs_below_the_search(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"PYTHONPATH": str(project.root / "src")}
    command = [*SHIFTLAB, "tune", "mlp", "-S", "data=digits", "-S", "seeds=[0,1]", "--shifted", "--cores", "2"]
    done = project.run(*command, "--trials", "2", environment=here)
    done = project.run(*command, "--trials", "3", environment=here)
    assert "3/3" in done.stdout
    names = project.git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/*").split()
    (search,) = {"-".join(name.split("-")[:3]) for name in names}
    own = {name.removeprefix(f"{search}-") for name in names}
    finalists = {name for name in own if name.endswith("-seeds")}
    assert own == {"0", "1", "2", "now"} | finalists
    assert finalists
    folder = project.root / "tuning/mlp"
    assert {path.name for path in folder.iterdir()} == {"recipes.csv", "search.md", "search.png"}
    table = (folder / "recipes.csv").read_text()
    assert table.startswith("experiment,")
    assert {line.partition(",")[0].removeprefix(f"{search}-") for line in table.splitlines()[1:]} >= {
        "0",
        "1",
        "2",
        "now",
    }

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "shiftlab-digits"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "tune" in run.data.tags]
    assert parent.info.run_name.startswith(search)
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    # A training that a trial has had already is taken from DVC's cache, and not another run.
    assert len(below) == 3 + 2 + len(finalists)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "recipes.csv",
        "search.md",
        "search.png",
    }
