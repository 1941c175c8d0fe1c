"""A search for a recipe: trials are DVC experiments, whose recipes Optuna draws by the accuracy of earlier trials.

That is the accuracy on validation images: the test set is not looked at. The search is kept in tune.db, and goes on
from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
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
    from shiftlab.tracking.store import Store

with extra("tune"):
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
STORAGE = "sqlite:///tune.db"
FOLDER = Path("tuning")
PRUNED = "given up: worse than most trials were by then"  # what a pruned trial's run and the terminal say
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
    """The options of a search."""

    model: str
    choices: tuple[str, ...]  # of all trials, as `dvc exp run -S` takes them
    trials: int
    minutes: float  # after which no trial is begun
    faster: float | None  # how many times less training time than with the model's present recipe; None: any time
    shifted: bool  # is accuracy on shifted validation images an objective, too?
    seed: int  # for drawing recipes


def run(search: Search, address: str, tell: Callable[[str], object], cores: int | None = None) -> SearchResult:
    """Run trials until there are enough, or no time is left to begin one; log the search as the parent of their runs.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the model or a choice is unknown; no recipe can be as fast as `faster` demands; no trial has
            come to its end; as `sweep.run`.
    """
    choices = sweep.with_defaults((f"model={search.model}", *search.choices), *sweep.DEFAULTS, "determinism=native")
    params = sweep.composed(choices)
    if search.model not in params.models:
        raise UserError(f"{shlex.join(choices)} leaves no model {search.model!r}: don't choose another")
    room = Resources(params.threads, int(params.device == "cuda"))

    from shiftlab.tracking import runs  # seconds to import
    from shiftlab.tracking.store import connect

    repository.require_clean()
    trials = Trials(replace(search, choices=choices), params)
    with trials.exclusive(), sweep.connected(address, room, cores, committed_data=False) as origin:
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
    """Time epochs, run the trials and the finalists; yield what is done and the outcome of each, in words."""
    from shiftlab.tracking import runs
    from shiftlab.tuning import scores

    model, data, shifted = trials.search.model, params.data.name, trials.search.shifted

    def pruned() -> list[str]:
        return trials.prune(runs.validation_curves(store))

    def answers(jobs: Iterable[Job]) -> Iterator[tuple[str, Any]]:
        tasks = ((job.name, (job, origin)) for job in jobs)
        for name, answer in engine.results(node.run, tasks, room, max(1, engine.cores() // room.cpus), pruned):
            if isinstance(answer, Cancelled):
                runs.kill(store, name, PRUNED)
            elif not isinstance(answer, UserError) and not origin.root:
                sweep.fetch_results([name])
            yield name, answer

    def outcomes(jobs: Iterable[Job]) -> Iterator[str]:
        for name, answer in answers(jobs):
            if not isinstance(answer, Cancelled | UserError):
                answer = scores.values(name, model, trials.seeds(name), store, data if shifted else None)
            yield f"{name}: {trials.end(name, answer)}"

    if not trials.timed:
        yield "how long an epoch takes with batches of each size is measured first, with nothing beside it"
        download = Job(f"{trials.name}-data", trials.search.choices, ("download",))
        for _, answer in answers([download]):
            if isinstance(answer, UserError):
                raise answer
        with tempfile.TemporaryDirectory() as folder:
            content = scores.checkout_data(download.name, data, Path(folder)).read_bytes()
        task = (model, trials.sizes, params, content)
        for _, seconds in engine.results(timing.epochs, [("timing", task)], room):
            if isinstance(seconds, UserError):
                raise seconds
            yield trials.limit(seconds)
    yield from outcomes(trials.jobs())
    yield "the most accurate are trained with all seeds"
    yield from outcomes(trials.finalists())


class Trials:
    """The trials of a search: Optuna draws their recipes, and takes their outcomes."""

    def __init__(self, search: Search, params: Params) -> None:
        self.search, self._params = search, params
        self._training = params.models[search.model]  # the recipe that the model has
        content = [repository.commit(), *search.choices, f"{search.faster} {search.shifted} {search.seed}"]
        self.name = f"tune-{search.model}-{hashlib.sha256(shlex.join(content).encode()).hexdigest()[:6]}"
        self.sizes = sorted({*BATCHES, self._training.batch_size})  # of batches
        self._begun = time.monotonic()
        self._running: dict[str, Trial] = {}
        self._reported: dict[str, int] = {}  # by experiment: epochs that Optuna knows of
        self._settings: dict[str, Mapping[str, object]] = {}  # by experiment, as in params.yaml
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
        """The number of trials that have ended."""
        return sum(trial.state.is_finished() for trial in self._study.trials)

    @property
    def timed(self) -> bool:
        """Whether it is known how long an epoch takes."""
        return "seconds" in self._study.user_attrs

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep a second command from the same search, whose trials it would run once more.

        Raises:
            UserError: another process is at it.
        """
        lock = Path(".dvc", "tmp", f"{self.name}.lock")
        try:
            with FileLock(lock, timeout=0):
                self._study.set_user_attr("process", os.getpid())
                yield
        except Timeout:
            raise UserError(
                f"process {self._study.user_attrs.get('process')} is at the search {self.name} already: wait for it, "
                "or begin another one, as with --seed 1"
            ) from None

    def seeds(self, name: str) -> list[int]:
        """Return the seeds of an experiment's trainings: of a trial the first alone, so that there can be more."""
        return self._params.seeds[:1] if name in self._running else self._params.seeds

    def limit(self, seconds: Sequence[float]) -> str:
        """Limit the epochs of trials to those that there is time for; return that in words.

        Args:
            seconds: that an epoch takes with batches of each of `sizes`.

        Raises:
            UserError: no recipe is as fast as `faster` demands.
        """
        # A list of pairs: Optuna keeps JSON, which has no numbers as keys.
        self._study.set_user_attr("seconds", list(zip(self.sizes, seconds, strict=True)))
        most = self._most_epochs()
        epochs = ", ".join(f"{epoch:.1f} s with batches of {size}" for size, epoch in self._epoch_seconds.items())
        slow = [str(size) for size in self.sizes if size not in most]
        return f"an epoch takes {epochs}" + (f"; there is no time for one with {', '.join(slow)}" if slow else "")

    def jobs(self) -> Iterator[Job]:
        """Yield the baseline, what an earlier search has left, then new trials; refuses as `limit` does."""
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
            sum(trial.state is not TrialState.WAITING for trial in self._study.trials) < self.search.trials
            and time.monotonic() - self._begun < 60 * self.search.minutes
        ):
            trial = self._study.ask()
            trial.suggest_categorical("recipe", SCHEDULES)
            trial.suggest_categorical("initialisation", INITIALISATIONS)
            trial.suggest_float("lr", *RATES, log=True)
            size = trial.suggest_categorical("batch_size", tuple(most))
            trial.suggest_int("epochs", 1, most[size])
            yield self._begin(trial)

    def finalists(self) -> Iterator[Job]:
        """Yield the best with all seeds, when all trials have ended.

        Raises:
            UserError: no trial has come to its end.
        """
        completed = self._study.get_trials(states=[TrialState.COMPLETE])
        if not completed:
            raise UserError("no trial has come to its end, for the reasons above")
        best = self._study.best_trials if self.search.shifted else sorted(completed, key=_rank)[:FINALISTS]
        for trial in sorted(best, key=_rank):
            result = _result(trial)
            if len(self._params.seeds) == 1:  # with which it has been trained
                self._add_final(result)
            else:
                yield self._job(f"{result.experiment}-seeds", trial.params)

    def prune(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
        """Return the experiments whose trials Optuna prunes.

        Args:
            curves: of every training that runs, by its experiment: (epoch, accuracy on validation images).
        """
        if self.search.shifted:  # Optuna prunes nothing where there are two objectives
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

    def end(self, name: str, outcome: list[float] | UserError | Cancelled) -> str:
        """Record the outcome of an experiment; return it in words.

        Args:
            outcome: its values of the objectives, means over its seeds, if it came to its end.

        Raises:
            UserError: the baseline failed, without which there is no search.
        """
        baseline, trial = f"{self.name}-now", self._running.get(name)
        if isinstance(outcome, UserError) and name == baseline:
            raise UserError(f"{name}: {outcome}")
        if isinstance(outcome, UserError | Cancelled):
            if trial:
                state = TrialState.PRUNED if isinstance(outcome, Cancelled) else TrialState.FAIL
                self._study.tell(self._running.pop(name), state=state)
            return PRUNED if isinstance(outcome, Cancelled) else str(outcome)
        result = self._trial_result(name, outcome)
        if name == baseline:
            self._study.set_user_attr("now", asdict(result))
            return f"{result.in_words()}, which {self.search.model} has"
        if trial:
            trial.set_user_attr("recipe", asdict(result))
            self._study.tell(self._running.pop(name), outcome)
        else:
            self._add_final(result)
        return result.in_words()

    def result(self) -> SearchResult:
        """Return the search's result, when the finalists have ended.

        Raises:
            UserError: no finalist has come to its end.
        """
        finalists = self._final.trials
        if not finalists:
            raise UserError("no finalist has come to its end, for the reasons above")
        best = _results(self._final.best_trials)
        return SearchResult(
            self.name,
            baseline=TrialResult(**self._study.user_attrs["now"]),
            trials=_results(self._study.get_trials(states=[TrialState.COMPLETE])),
            pruned=len(self._study.get_trials(states=[TrialState.PRUNED])),
            finalists=_results(finalists),
            best=best if self.search.shifted else best[:1],
        )

    @property
    def _epoch_seconds(self) -> dict[int, float]:
        """The seconds that an epoch takes, by the size of its batches."""
        return {int(size): float(seconds) for size, seconds in self._study.user_attrs["seconds"]}

    def _most_epochs(self) -> dict[int, int]:
        """Return the epochs that there is time for, by the size of batches, without sizes for which it is none."""
        now, faster, seconds = self._training, self.search.faster, self._epoch_seconds
        if faster is None:
            return dict.fromkeys(seconds, now.epochs)
        whole = now.epochs * seconds[now.batch_size]
        # Rounded first: a tenth of the epochs, with the same batches, is to be a tenth of the time.
        fit = {size: int(round(whole / faster / epoch, 9)) for size, epoch in seconds.items()}
        if not any(fit.values()):
            raise UserError(
                f"an epoch of {self.search.model} takes {min(seconds.values()):.2g} s at least, and a {faster:g}th of "
                f"the {whole:.2g} s that it trains for now is less: ask for less with --faster"
            )
        return {size: min(now.epochs, epochs) for size, epochs in fit.items() if epochs}

    def _add_final(self, result: TrialResult) -> None:
        self._final.add_trial(create_trial(values=result.values, user_attrs={"recipe": asdict(result)}))

    def _begin(self, trial: Trial) -> Job:
        name = f"{self.name}-{trial.number}"
        self._running[name] = trial
        return self._job(name, trial.params)

    def _job(self, name: str, settings: Mapping[str, object]) -> Job:
        model, own = self.search.model, self.search.choices
        self._settings[name] = settings
        choices = (*own, *(f"++models.{model}.{key}={value}" for key, value in settings.items()))
        return Job(name, choices, tuple(f"train@{model}-{seed}" for seed in self.seeds(name)))

    def _trial_result(self, name: str, values: Sequence[float]) -> TrialResult:
        update = {key: None if value == "null" else value for key, value in self._settings[name].items()}
        training = self._training.model_copy(update=update)
        return TrialResult(
            name,
            schedule=training.recipe or self._params.recipe,
            **training.model_dump(include={"lr", "batch_size", "epochs", "initialisation"}),
            seeds=len(self.seeds(name)),
            accuracy=values[0],
            shifted=values[1] if self.search.shifted else None,
            seconds=training.epochs * self._epoch_seconds[training.batch_size],
        )


def _result(trial: FrozenTrial) -> TrialResult:
    return TrialResult(**trial.user_attrs["recipe"])


def _rank(trial: FrozenTrial) -> tuple[float, float]:
    """Return the key by which trials are sorted: the most accurate first, of equals the fastest."""
    return -_result(trial).accuracy, _result(trial).seconds


def _results(trials: Sequence[FrozenTrial]) -> list[TrialResult]:
    return [_result(trial) for trial in sorted(trials, key=_rank)]
