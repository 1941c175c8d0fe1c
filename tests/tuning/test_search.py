"""The search for a recipe: what it asks for, what it gives up, what it calls the best."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient

pytest.importorskip("optuna", reason="needs Optuna, which `make cluster` installs")

from optuna.trial import create_trial

from shiftlab.distributed import engine, sweep
from shiftlab.distributed.engine import Cancelled, Resources
from shiftlab.distributed.node import Job, Origin
from shiftlab.errors import UserError
from shiftlab.tracking.store import Store
from shiftlab.tuning import scores, timing
from shiftlab.tuning import search as tuning_search
from shiftlab.tuning.results import TrialResult
from shiftlab.tuning.search import Search, Trials
from tests.helpers import ROOT
from tests.project import Project

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")
ASKED = Search("lenet", ("model=lenet", "seeds=[0,1,2]"), trials=12, minutes=60, faster=2, shifted=False, seed=0)


def finish(search: Trials, accuracies: Sequence[float]) -> list[Job]:
    """Run the finalists of a search, which have these accuracies with all seeds; what ran."""
    jobs = []
    for job, accuracy in zip(search.finalists(), accuracies, strict=True):
        search.end(job.name, [accuracy])
        jobs.append(job)
    return jobs


def chosen(job: Job) -> dict[str, str]:
    """What a job sets of its model."""
    own = [choice for choice in job.choices if choice.startswith("++")]
    return dict(choice.removeprefix("++models.lenet.").split("=") for choice in own)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_search, "STORAGE", f"sqlite:///{tmp_path}/tune.db")
    monkeypatch.chdir(ROOT)


def trials(asked: Search = ASKED, slow: float = 1.5) -> Trials:
    """A search in which an epoch takes a second, with batches of less than 64 images `slow` times that."""
    search = Trials(asked, sweep.composed(asked.choices))
    if not search.timed:
        search.limit([slow if size < 64 else 1 for size in search.sizes])
    return search


@pytest.mark.usefixtures("storage")
def test_recipe_of_the_model_comes_first_then_what_one_would_try_by_hand() -> None:
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

    assert "98.00%" in search.end(first.name, [0.98])  # before what it is held against is known
    search.end(now.name, [0.9])
    (finalist,) = finish(search, [0.94])
    assert finalist.targets == now.targets
    assert chosen(finalist) == guesses[0]
    result = search.result()
    (best,) = result.best
    assert best.accuracy == pytest.approx(0.94)
    assert best.seconds == 10
    assert result.baseline.accuracy == pytest.approx(0.9)
    assert result.baseline.seconds == 20
    assert len(result.trials) == 1


@pytest.mark.usefixtures("storage")
def test_a_trial_has_as_many_epochs_as_there_is_time_for_at_most() -> None:
    drawn: dict[int, set[int]] = {}
    for job in trials(replace(ASKED, trials=60, faster=8), slow=2.2).jobs():
        if recipe := chosen(job):
            drawn.setdefault(int(recipe["batch_size"]), set()).add(int(recipe["epochs"]))
    # Of 20 epochs of a second: two and a half, which is one of the slow.
    assert {size for size in drawn if 2 in drawn[size]} >= {64, 96}
    assert all(epochs <= ({1} if size < 64 else {1, 2}) for size, epochs in drawn.items())


@pytest.mark.usefixtures("storage")
def test_as_many_times_fewer_epochs_are_as_many_times_faster() -> None:
    for faster in (3, 7, 10):  # of whose shares floating point is a little above or below
        jobs = trials(replace(ASKED, trials=1, faster=20 / faster), slow=1 / 3).jobs()
        assert chosen(list(jobs)[1])["epochs"] == str(faster)


@pytest.mark.usefixtures("storage")
def test_sizes_with_which_no_epoch_is_fast_enough_are_not_tried_and_said() -> None:
    search = Trials(replace(ASKED, faster=20), sweep.composed(ASKED.choices))
    said = search.limit([1 if size == 512 else 3 if size == 64 else 60 for size in search.sizes])
    assert said.endswith("there is no time for one with 16, 32, 48, 96, 128, 256")
    assert {chosen(job)["batch_size"] for job in list(search.jobs())[1:]} == {"64", "512"}


@pytest.mark.usefixtures("storage")
def test_more_speed_than_there_can_be_is_refused_before_anything_trains_and_again() -> None:
    asked = replace(ASKED, faster=30)
    with pytest.raises(UserError, match="an epoch of lenet takes 1 s at least, and a 30th of the 20 s"):
        trials(asked)
    with pytest.raises(UserError, match="ask for less with --faster"):
        next(trials(asked).jobs())


@pytest.mark.usefixtures("storage")
def test_search_goes_on_where_it_was_left() -> None:
    first = trials()
    jobs = first.jobs()
    now, done, left = next(jobs), next(jobs), next(jobs)
    first.end(now.name, [0.9])
    first.end(done.name, [0.98])
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
    search.end(now.name, [0.9])
    for _ in range(tuning_search.STARTUP):
        job = next(jobs)
        epochs = int(dict(choice.split("=") for choice in job.choices)["++models.lenet.epochs"])
        assert search.prune({job.name: [(epoch, 0.9) for epoch in range(1, epochs + 1)]}) == []
        search.end(job.name, [0.9])
    bad = next(jobs)
    epochs = int(dict(choice.split("=") for choice in bad.choices)["++models.lenet.epochs"])
    assert search.prune({}) == []
    assert search.prune({bad.name: [(epoch, 0.1) for epoch in range(1, epochs + 1)]}) == [bad.name]
    assert "given up" in search.end(bad.name, Cancelled())
    finish(search, [0.9] * tuning_search.FINALISTS)
    assert search.result().pruned == 1


@pytest.mark.usefixtures("storage")
def test_failed_trial_ends_nothing_but_without_the_models_own_recipe_there_is_no_search() -> None:
    search = trials()
    jobs = search.jobs()
    now, first = next(jobs), next(jobs)
    assert search.end(first.name, UserError("the loss is nan")) == "the loss is nan"
    with pytest.raises(UserError, match="no data"):
        search.end(now.name, UserError("no data"))


@pytest.mark.usefixtures("storage")
def test_data_comes_first_then_epochs_are_timed_and_without_data_there_is_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, object] = {}

    def results(function: Callable[..., object], tasks: Iterable[tuple[str, tuple[Any, ...]]], *_: object) -> Any:
        for name, (first, *_rest) in tasks:
            timed = [1.0] * len(search.sizes)
            yield name, timed if function is timing.epochs else answers.get(first.targets[0], name)

    def values(name: str, _model: str, seeds: Sequence[int], *_: object) -> list[float]:
        scored[name] = list(seeds)
        return [0.9]

    def checkout(name: str, *_: object) -> Path:
        assert name == f"{search.name}-data"
        return tmp_path / "data"

    (tmp_path / "data").write_bytes(b"data")
    monkeypatch.setattr(engine, "results", results)
    monkeypatch.setattr(engine, "cores", lambda: 2)
    monkeypatch.setattr(scores, "values", values)
    monkeypatch.setattr(scores, "checkout_data", checkout)
    scored: dict[str, list[int]] = {}
    params = sweep.composed(ASKED.choices)
    search = Trials(replace(ASKED, trials=2), params)
    here = Origin("here", "commit", "here", {})

    def lines() -> list[str]:
        return list(tuning_search._phases(search, params, here, Resources(), cast("Store", None)))

    answers["download"] = UserError("no mirror answers")
    with pytest.raises(UserError, match="no mirror answers"):
        lines()
    assert not search.timed
    del answers["download"]
    assert [line.partition(":")[0] for line in lines()[2:]] == [
        *(f"{search.name}-{job}" for job in ("now", 0, 1)),
        "the most accurate are trained with all seeds",
        *(f"{search.name}-{job}-seeds" for job in (0, 1)),
    ]
    of_trials = {f"{search.name}-{number}" for number in (0, 1)}
    assert all(seeds == ([0] if name in of_trials else [0, 1, 2]) for name, seeds in scored.items())
    assert len(scored) == 5


@pytest.mark.usefixtures("storage")
def test_time_does_not_matter_where_nobody_has_asked_for_it() -> None:
    search = trials(replace(ASKED, faster=None), slow=1000)
    jobs = search.jobs()
    now, first = next(jobs), next(jobs)
    search.end(now.name, [0.9])
    search.end(first.name, UserError("the loss is nan"))
    with pytest.raises(UserError, match="no trial has come to its end"):
        finish(search, [])
    slow = next(job for job in jobs if int(chosen(job)["batch_size"]) < 64)
    search.end(slow.name, [0.9])
    finish(search, [0.95])
    assert search.result().best[0].seconds >= 1000


@pytest.mark.usefixtures("storage")
def test_the_best_have_to_be_so_with_all_seeds() -> None:
    search = trials()
    jobs = search.jobs()
    now = next(jobs)
    search.end(now.name, [0.9])
    names, choices = {}, {}
    for accuracy in (0.94, 0.95, 0.93, 0.97, 0.98, 0.96):
        job = next(jobs)
        names[accuracy] = job.name
        choices[f"{job.name}-seeds"] = chosen(job)
        search.end(job.name, [accuracy])
    finalists = finish(search, [0.95, 0.97, 0.96, 0.94])
    assert [job.name for job in finalists] == [f"{names[accuracy]}-seeds" for accuracy in (0.98, 0.97, 0.96, 0.95)]
    assert all(chosen(job) == choices[job.name] for job in finalists)
    assert "null" in {chosen(job)["initialisation"] for job in finalists}
    result = search.result()
    (best,) = result.best
    assert best.experiment == f"{names[0.97]}-seeds"
    assert best.accuracy == pytest.approx(0.97)
    assert best.seeds == 3
    assert f"| {best.seconds:.1f} s | {20 / best.seconds:.1f} |" in str(result)


@pytest.mark.usefixtures("storage")
def test_best_is_the_most_accurate_and_of_equals_the_fastest() -> None:
    search = one_seed(shifted=False)
    finish_trials(search, [("a", 0.9, 1, None), ("b", 0.95, 3, None), ("c", 0.95, 2, None)])
    assert [best.experiment for best in search.result().best] == ["c"]


@pytest.mark.usefixtures("storage")
def test_best_in_two_things_are_those_that_none_beats() -> None:
    search = one_seed(shifted=True)
    both = {"a": (0.99, 0.5), "b": (0.98, 0.7), "c": (0.97, 0.6), "d": (0.98, 0.6), "e": (0.9, 0.8)}
    finish_trials(search, [(name, accuracy, 1, shifted) for name, (accuracy, shifted) in both.items()])
    assert [best.experiment for best in search.result().best] == ["a", "b", "e"]


def one_seed(shifted: bool) -> Trials:
    """A search whose trials need no training with more seeds in the end."""
    search = trials(replace(ASKED, choices=("model=lenet", "seeds=[0]"), shifted=shifted))
    baseline = TrialResult("now", "fast", 0.01, 64, 2, None, 1, 0.5, 0.5 if shifted else None, 1)
    search._study.set_user_attr("now", asdict(baseline))
    return search


def finish_trials(search: Trials, results: Sequence[tuple[str, float, float, float | None]]) -> None:
    """End trials with these (experiment, accuracy, seconds, accuracy on shifted images)."""
    for experiment, accuracy, seconds, shifted in results:
        result = TrialResult(experiment, "fast", 0.01, 64, 2, None, 1, accuracy, shifted, seconds)
        search._study.add_trial(create_trial(values=result.values, user_attrs={"recipe": asdict(result)}))
    assert list(search.finalists()) == []


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
    assert own == {"0", "1", "2", "data", "now"} | finalists
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
