"""A search for a recipe: trials are DVC experiments, drawn by Optuna from how earlier ones did on validation images.

The test set is not looked at. The search is kept in tune.db, and goes on from there.
"""

from __future__ import annotations

import hashlib
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tqdm import tqdm

from shiftlab import repository
from shiftlab.config.params import Params
from shiftlab.distributed import engine, node, sweep
from shiftlab.distributed.engine import Cancelled, Resources
from shiftlab.distributed.node import Job, Origin
from shiftlab.errors import UserError, extra
from shiftlab.tuning import timing
from shiftlab.tuning.results import SearchResult, TrialResult, write

if TYPE_CHECKING:
    from shiftlab.tracking.history import Revision
    from shiftlab.tracking.store import Store

with extra("tune"):
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import Trial, TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
STORAGE = "sqlite:///tune.db"
FOLDER = Path("tuning")
PRUNED = "given up: worse than most trials were by then"
SCHEDULES = ("notebook", "fast", "brief")
INITIALISATIONS = ("null", "xavier")
RATES = (1e-4, 1e-1)  # of learning, on a logarithmic scale
BATCHES = (16, 32, 48, 64, 96, 128, 256, 512)
STARTUP = 8  # trials that are drawn at random; before so many have ended, none is pruned
WARM_UP = 25  # % of a trial's epochs, before which it is not pruned
FINALISTS = 4  # trials that are trained with all seeds in the end
RISES = (10, 30, 3)  # of the learning rate, that one would try by hand for fewer epochs


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    model: str
    choices: tuple[str, ...]  # of all trials, as `dvc exp run -S` takes them
    trials: int
    minutes: float  # after which no trial is begun
    faster: float | None  # in how many times less training time than with the recipe that the model has; None: any
    shifted: bool  # is accuracy on shifted validation images looked for, too?
    seed: int  # of what is drawn


def run(search: Search, address: str, tell: Callable[[str], object], cores: int | None = None) -> SearchResult:
    """Run trials until there are enough, or no time is left to begin one; log the search as the parent of their runs.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the model or a choice is unknown; no recipe can be as fast as asked for; no trial has come to its
            end; as `sweep.run`.
    """
    choices = sweep.one_thread((f"model={search.model}", *search.choices))
    params = sweep.composed(choices)
    if search.model not in params.models:
        raise UserError(f"{shlex.join(choices)} leaves no model {search.model!r}: don't choose another")
    room = Resources(params.threads, int(params.device == "cuda"))

    from shiftlab.tracking import runs  # seconds to import
    from shiftlab.tracking.store import connect

    with sweep.connected(address, room, cores, committed_data=False) as origin:
        trials = Trials(replace(search, choices=choices), params)
        store = connect(params.data.name)
        parent = runs.parent(store, trials.name, {"data": params.data.name, "tune": search.model})
        origin = replace(origin, environment={**origin.environment, "SHIFTLAB_PARENT_RUN": parent.id})
        with tqdm(total=search.trials, initial=trials.ended, desc=trials.name, unit="trial") as bar:
            for line in _phases(trials, params, origin, room, store):
                tell(line)
                bar.update(trials.ended - bar.n)
    result = trials.result()
    folder = FOLDER / search.model
    write(result, folder)
    parent.log_path(folder)
    parent.log_description(f"{result}\n\n[Its picture]({{page}}).", "search.png")
    return result


def _phases(trials: Trials, params: Params, origin: Origin, room: Resources, store: Store) -> Iterator[str]:
    """Time epochs, run the trials and the finalists; yield what is done and what came of it, in words."""
    if not trials.timed:
        yield "how long an epoch takes with batches of each size is measured first, with nothing beside it"
        yield from _run(iter([trials.data]), trials, origin, room, store)
        yield trials.limit(_epoch_seconds(trials.model, trials.sizes, params, trials.data.name, room))
    yield from _run(trials.jobs(), trials, origin, room, store)
    yield "the most accurate are trained with all seeds"
    yield from _run(trials.finalists(), trials, origin, room, store)


def _run(jobs: Iterator[Job], trials: Trials, origin: Origin, room: Resources, store: Store) -> Iterator[str]:
    """Run experiments as there is room for them; yield what came of each, in words, when the trials know it."""
    from shiftlab.tracking import runs

    tasks = ((job.name, (job, origin)) for job in jobs)
    at_once = max(1, engine.cores() // room.cpus)
    for name, answer in engine.results(
        node.run, tasks, room, at_once, lambda: trials.prune(runs.validation_curves(store) or {})
    ):
        metrics: list[Mapping[str, float]] = []
        if isinstance(answer, Cancelled):
            runs.kill(store, name, PRUNED)
        elif not isinstance(answer, UserError):
            if not origin.root:
                sweep.fetch_results([name])
            of_seeds = [runs.metrics(store, digest) for digest in trials.weights(name).values()]
            metrics = [of_seed for of_seed in of_seeds if of_seed] if all(of_seeds) else []
        yield f"{name}: {trials.end(name, answer, metrics)}"


class Trials:
    """The trials of a search, between Optuna, which draws them, and the engine, which runs them."""

    def __init__(self, search: Search, params: Params) -> None:
        self.model, self._search, self._params = search.model, search, params
        self._training = params.models[search.model]  # as it is now
        content = [repository.commit(), *search.choices, f"{search.faster} {search.shifted} {search.seed}"]
        self.name = f"tune-{search.model}-{hashlib.sha256(shlex.join(content).encode()).hexdigest()[:6]}"
        self.data = Job(f"{self.name}-data", search.choices, ("download",))  # fetches what epochs are timed with
        self.sizes = sorted({*BATCHES, self._training.batch_size})  # of batches
        self._begun = time.monotonic()
        self._running: dict[str, Trial] = {}
        self._reported: dict[str, int] = {}  # of each that runs: epochs that Optuna knows of
        self._finalists: dict[str, TrialResult] = {}  # by the experiment with all seeds: what came of the first
        directions = [StudyDirection.MAXIMIZE] * (1 + search.shifted)
        self._final = optuna.create_study(directions=directions)  # of the finalists with all seeds
        self._study = optuna.create_study(
            storage=STORAGE,
            study_name=self.name,
            load_if_exists=True,
            directions=directions,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP),
        )
        # A search that goes on is not to draw what it has drawn before.
        seed = search.seed * 10_000 + len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)

    @property
    def ended(self) -> int:
        """How many have."""
        return sum(trial.state.is_finished() for trial in self._study.trials)

    @property
    def timed(self) -> bool:
        """Is it known how long an epoch takes?"""
        return "seconds" in self._study.user_attrs

    def limit(self, seconds: Sequence[float]) -> str:
        """Let trials have as many epochs as there is time for; return that in words.

        Args:
            seconds: that an epoch takes with batches of each of `sizes`.

        Raises:
            UserError: no recipe is as fast as asked for.
        """
        # A list of pairs: Optuna keeps JSON, which has no numbers as keys.
        self._study.set_user_attr("seconds", list(zip(self.sizes, seconds, strict=True)))
        most = self._most_epochs()
        taken = ", ".join(f"{epoch:.1f} s with batches of {size}" for size, epoch in self._seconds.items())
        slow = [str(size) for size in self.sizes if size not in most]
        return f"an epoch takes {taken}" + (f"; there is no time for one with {', '.join(slow)}" if slow else "")

    def jobs(self) -> Iterator[Job]:
        """Yield what is to be run: the baseline, what an earlier search has left, then new trials.

        A trial is of the first seed alone, so that there can be more of them.

        Raises:
            UserError: no recipe is as fast as asked for.
        """
        most = self._most_epochs()
        if "now" not in self._study.user_attrs:
            yield self._job(f"{self.name}-now", {})
        for left in self._study.get_trials(states=[TrialState.RUNNING]):
            yield self._begin(Trial(self._study, left._trial_id))
        if not self._study.trials:
            # What one would try by hand: batches as they are, as many epochs as there is time for, a higher rate.
            size = min(most, key=lambda size: abs(size - self._training.batch_size))
            guess = {"recipe": "brief", "initialisation": "xavier", "batch_size": size, "epochs": most[size]}
            for rise in RISES:
                self._study.enqueue_trial({**guess, "lr": min(rise * self._training.lr, RATES[1])})
        while (
            sum(trial.state is not TrialState.WAITING for trial in self._study.trials) < self._search.trials
            and time.monotonic() - self._begun < 60 * self._search.minutes
        ):
            trial = self._study.ask()
            trial.suggest_categorical("recipe", SCHEDULES)
            trial.suggest_categorical("initialisation", INITIALISATIONS)
            trial.suggest_float("lr", *RATES, log=True)
            size = trial.suggest_categorical("batch_size", tuple(most))
            trial.suggest_int("epochs", 1, most[size])
            yield self._begin(trial)

    def finalists(self) -> Iterator[Job]:
        """Yield what is to be run when all trials have ended: the best, with all seeds.

        Raises:
            UserError: no trial has come to its end.
        """
        results = _completed(self._study)
        if not results:
            raise UserError("no trial has come to its end, for the reasons above")
        best = self._best(self._study) if self._search.shifted else results[:FINALISTS]
        if len(self._params.seeds) == 1:  # with which they have been trained
            for result in best:
                self._add_final(result)
            return
        self._finalists = {f"{result.experiment}-seeds": result for result in best}
        for name, result in self._finalists.items():
            yield self._job(name, result.settings)

    def prune(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
        """Return the experiments whose trials Optuna prunes.

        Args:
            curves: of every training that runs, by its experiment: (epoch, accuracy on validation images).
        """
        if self._search.shifted:  # Optuna prunes nothing where two things are looked for
            return []
        pruned = []
        for name, trial in self._running.items():
            new = curves.get(name, [])[self._reported.get(name, 0) :]
            for epoch, accuracy in new:
                trial.report(accuracy, round(100 * epoch / trial.params["epochs"]))
                self._reported[name] = epoch
            if new and trial.should_prune():
                pruned.append(name)
        return pruned

    def end(self, name: str, answer: object, metrics: Sequence[Mapping[str, float]]) -> str:
        """Take down what came of an experiment; return it in words.

        Args:
            answer: the engine's.
            metrics: what MLflow has of its trainings, one for each seed.

        Raises:
            UserError: without it there is no search.
        """
        if name == self.data.name:
            if isinstance(answer, UserError):
                raise answer
            return "the data is there"
        problem = str(answer) if isinstance(answer, UserError) else "" if metrics else "MLflow lacks its trainings"
        if name == f"{self.name}-now":
            if problem:
                raise UserError(f"{name}: {problem}")
            result = self._result(name, {}, metrics)
            self._study.set_user_attr("now", asdict(result))
            return f"{result.in_words()}, which {self.model} has"
        if name in self._finalists:
            if problem:
                return problem
            return self._add_final(self._result(name, self._finalists[name].settings, metrics)).in_words()
        trial = self._running[name]
        if isinstance(answer, Cancelled) or problem:
            state, words = (TrialState.PRUNED, PRUNED) if isinstance(answer, Cancelled) else (TrialState.FAIL, problem)
            self._study.tell(trial, state=state)
        else:
            result = self._result(name, trial.params, metrics)
            trial.set_user_attr("recipe", asdict(result))
            self._study.tell(trial, result.values)
            words = result.in_words()
        del self._running[name]
        return words

    def result(self) -> SearchResult:
        """Return what the search has come to, when the finalists have ended.

        Raises:
            UserError: no finalist has come to its end.
        """
        finalists = _completed(self._final)
        if not finalists:
            raise UserError("no finalist has come to its end, for the reasons above")
        pruned = len(self._study.get_trials(states=[TrialState.PRUNED]))
        baseline = TrialResult(**self._study.user_attrs["now"])
        return SearchResult(self.name, baseline, _completed(self._study), pruned, finalists, self._best(self._final))

    def weights(self, name: str) -> dict[int, str]:
        """Return the digests (MD5) of the weights that an experiment's trainings ended with, by their seeds."""
        from shiftlab.models import weights

        outputs, model = _revision(name).outputs, self.model
        return {seed: outputs(f"train@{model}-{seed}")[str(weights.path(model, seed))] for seed in self.seeds(name)}

    def seeds(self, name: str) -> list[int]:
        """Return the seeds of an experiment's trainings."""
        if name == self.data.name:
            return []
        return self._params.seeds[:1] if name in self._running else self._params.seeds

    @property
    def _seconds(self) -> dict[int, float]:
        """That an epoch takes, by the size of its batches."""
        return {int(size): float(seconds) for size, seconds in self._study.user_attrs["seconds"]}

    def _most_epochs(self) -> dict[int, int]:
        """Return the epochs that there is time for, by the size of batches, of the sizes with which it is one or more.

        Raises:
            UserError: there is none.
        """
        now, faster, seconds = self._training, self._search.faster, self._seconds
        if faster is None:
            return dict.fromkeys(seconds, now.epochs)
        whole = now.epochs * seconds[now.batch_size]
        # Rounded first: a tenth of the epochs, with the same batches, is to be a tenth of the time.
        fit = {size: int(round(whole / faster / epoch, 9)) for size, epoch in seconds.items()}
        if not any(fit.values()):
            raise UserError(
                f"an epoch of {self.model} takes {min(seconds.values()):.2g} s at least, and a {faster:g}th of "
                f"the {whole:.2g} s that it trains for now is less: ask for less with --faster"
            )
        return {size: min(now.epochs, epochs) for size, epochs in fit.items() if epochs}

    def _best(self, study: optuna.Study) -> list[TrialResult]:
        """Return the best of a study, of equals the fastest; with two objectives those that no other beats in both."""
        best = _ordered(study.best_trials)
        return best if self._search.shifted else best[:1]

    def _add_final(self, result: TrialResult) -> TrialResult:
        self._final.add_trial(create_trial(values=result.values, user_attrs={"recipe": asdict(result)}))
        return result

    def _begin(self, trial: Trial) -> Job:
        name = f"{self.name}-{trial.number}"
        self._running[name] = trial
        return self._job(name, trial.params)

    def _job(self, name: str, settings: Mapping[str, object]) -> Job:
        choices = (*self._search.choices, *(f"++models.{self.model}.{key}={value}" for key, value in settings.items()))
        return Job(name, choices, tuple(f"train@{self.model}-{seed}" for seed in self.seeds(name)))

    def _result(self, name: str, settings: Mapping[str, object], metrics: Sequence[Mapping[str, float]]) -> TrialResult:
        update = {key: None if value == "null" else value for key, value in settings.items()}
        training = self._training.model_copy(update=update)
        shifted = None
        if self._search.shifted:
            shifted = _shifted_accuracy(name, self.model, self.weights(name), self._params.data.name)
        return TrialResult(
            name,
            schedule=training.recipe or self._params.recipe,
            lr=training.lr,
            batch_size=training.batch_size,
            epochs=training.epochs,
            initialisation=training.initialisation,
            seeds=len(self.seeds(name)),
            accuracy=fmean(of_seed["validation/best accuracy"] for of_seed in metrics),
            shifted=shifted,
            seconds=training.epochs * self._seconds[training.batch_size],
        )


def _completed(study: optuna.Study) -> list[TrialResult]:
    return _ordered(study.get_trials(states=[TrialState.COMPLETE]))


def _ordered(trials: Sequence[optuna.trial.FrozenTrial]) -> list[TrialResult]:
    """Return what came of trials, the most accurate first, of equals the fastest."""
    results = [TrialResult(**trial.user_attrs["recipe"]) for trial in trials]
    return sorted(results, key=lambda result: (-result.accuracy, result.seconds))


def _revision(experiment: str) -> Revision:
    from shiftlab.tracking import history

    return history.revision(sweep.reference(experiment))


def _checkout_data(experiment: str, data: str, folder: str) -> Path:
    """Put the file of a data set that an experiment has downloaded into a folder; return its path."""
    from shiftlab.data import dataset
    from shiftlab.tracking import history

    revision, path = _revision(experiment), str(dataset.path(data))
    digest = next(outputs[path] for outputs in map(revision.outputs, revision.stages) if path in outputs)
    return history.checkout(digest, Path(folder, "data"))


def _epoch_seconds(
    model: str, sizes: Sequence[int], params: Params, experiment: str, room: Resources
) -> Sequence[float]:
    """Measure the seconds that an epoch takes with batches of each size, where nothing else of the search runs.

    Args:
        experiment: one that has the data, in this repository.

    Raises:
        MissingError: DVC's cache lacks the data.
        UserError: as `timing.epochs`.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = _checkout_data(experiment, params.data.name, folder).read_bytes()
    ((_, answer),) = engine.results(timing.epochs, [("timing", (model, sizes, params, data))], room)
    if isinstance(answer, UserError):
        raise answer
    seconds: Sequence[float] = answer
    return seconds


def _shifted_accuracy(experiment: str, model: str, digests: Mapping[int, str], data: str) -> float:
    """Compute the accuracy, 0..1, on validation images as `random5` moves them: the mean over seeds.

    Args:
        digests: of the trainings' weights, by their seeds.
        data: name of the data set.

    Raises:
        MissingError: DVC's cache lacks weights or data.
    """
    from shiftlab.data import dataset
    from shiftlab.data.dataset import Examples
    from shiftlab.models import weights
    from shiftlab.shifts.grids import named_set
    from shiftlab.shifts.transform import shift_each
    from shiftlab.tracking import history
    from shiftlab.training import loop

    accuracies = []
    with tempfile.TemporaryDirectory() as folder:
        whole = dataset.load(_checkout_data(experiment, data, folder))
        validation = whole.validation
        shifts = named_set("random5", len(validation), 0)
        moved = Examples(shift_each(validation.images, shifts, "zero", whole.frame), validation.labels)
        for seed, digest in digests.items():
            path = history.checkout(digest, Path(folder, f"weights-{seed}"))
            network = weights.load(model, path, whole.shape, len(whole.classes))
            accuracies.append(loop.score(network, moved)[1])
    return fmean(accuracies)
