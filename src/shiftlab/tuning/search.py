"""A search for a recipe: trials are experiments, chosen by Optuna from what earlier ones came to on validation images.

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
from shiftlab.config.params import Params, Training
from shiftlab.distributed import engine, node, sweep
from shiftlab.distributed.engine import Cancelled, Resources
from shiftlab.distributed.node import Job, Origin
from shiftlab.errors import UserError, extra
from shiftlab.tuning import timing
from shiftlab.tuning.recipes import Found, Recipe, best_of, most_accurate_first, write

if TYPE_CHECKING:
    from shiftlab.tracking.store import Store

with extra("tune"):
    import optuna
    from optuna.trial import Trial, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)
STORAGE = "sqlite:///tune.db"
FOLDER = Path("tuning")
GIVEN_UP = "given up: worse than most trials were by then"
SCHEDULES = ("notebook", "fast", "brief")
INITIALISATIONS = ("null", "xavier")
RATES = (1e-4, 1e-1)  # of learning, on a logarithmic scale
BATCHES = (16, 32, 48, 64, 96, 128, 256, 512)
STARTUP = 8  # trials that are drawn at random; before so many have ended, none is given up
WARM_UP = 25  # % of a trial's epochs, before which it is not given up
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


def carry_out(asked: Search, address: str, tell: Callable[[str], object], cores: int | None = None) -> Found:
    """Run trials until there are enough, or no time is left to begin one; log the search as the parent of their runs.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the model or a choice is unknown; no recipe can be as fast as asked for; no trial has come to its
            end; as `sweep.carry_out`.
    """
    everything = sweep.settled((f"model={asked.model}", *asked.choices))
    composed = sweep.composed(everything)
    if asked.model not in composed.models:
        raise UserError(f"{shlex.join(everything)} leaves no model {asked.model!r}: don't choose another")
    room = Resources(composed.threads, int(composed.device == "cuda"))

    from shiftlab.tracking import recording, runs  # seconds to import
    from shiftlab.tracking.store import connect

    with sweep.ready(address, room, cores, stored=False) as home:
        trials = Trials(replace(asked, choices=everything), composed)
        store = connect(composed.data.name)
        parent = runs.parent(store, trials.name, {"data": composed.data.name, "tune": asked.model})
        home = replace(home, environment={**home.environment, "SHIFTLAB_PARENT_RUN": parent.id})
        if not trials.timed:
            tell("how long an epoch takes with batches of each size is measured first, with nothing beside it")
            for said in run(iter([trials.data]), trials, home, room, store):
                tell(said)
            tell(trials.limit(epoch_seconds(asked.model, trials.sizes, composed, trials.data.name, room)))
        with tqdm(total=asked.trials, initial=trials.ended, desc=trials.name, unit="trial") as bar:
            for said in run(trials.jobs(), trials, home, room, store):
                tell(said)
                bar.update(trials.ended - bar.n)
        tell("the most accurate are trained with all seeds")
        for said in run(trials.finalists(), trials, home, room, store):
            tell(said)
    found = trials.found()
    folder = FOLDER / asked.model
    write(found, folder)
    recording.log_search(parent, str(found), folder)
    return found


def run(jobs: Iterator[Job], trials: Trials, home: Origin, room: Resources, store: Store) -> Iterator[str]:
    """Run experiments as there is room for them; yields what came of each, in words, when the trials know it."""
    from shiftlab.models import weights
    from shiftlab.tracking import runs

    tasks = ((job.name, (job, home)) for job in jobs)
    at_once = max(1, engine.cores() // room.cpus)
    for name, answer in engine.results(
        node.run, tasks, room, at_once, lambda: trials.hopeless(runs.validation_curves(store) or {})
    ):
        if isinstance(answer, Cancelled):
            runs.give_up(store, name, GIVEN_UP)
        elif not isinstance(answer, UserError) and not home.root:
            sweep.bring_home([name])
        trained = []
        if not isinstance(answer, Cancelled | UserError):
            outs = outputs(name)
            ends = [outs[str(weights.path(trials.model, seed))] for seed in trials.seeds_of(name)]
            of_seeds = [runs.metrics(store, digest) for digest in ends]
            trained = [one for one in of_seeds if one] if all(of_seeds) else []
        yield f"{name}: {trials.end(name, answer, trained)}"


class Trials:
    """The trials of a search, between Optuna, which chooses, and the engine, which runs them."""

    def __init__(self, asked: Search, composed: Params) -> None:
        self._asked, self._composed = asked, composed
        what = [repository.commit(), *asked.choices, f"{asked.faster} {asked.shifted} {asked.seed}"]
        self.name = f"tune-{asked.model}-{hashlib.sha256(shlex.join(what).encode()).hexdigest()[:6]}"
        self._begun = time.monotonic()
        self._running: dict[str, Trial] = {}
        self._finalists: dict[str, Recipe] = {}  # by the experiment with all seeds: what came of the first
        self._final: list[Recipe] = []  # what has come of those experiments
        self._told: dict[str, int] = {}  # of each that runs: epochs that Optuna knows of
        self._study = optuna.create_study(
            storage=STORAGE,
            study_name=self.name,
            load_if_exists=True,
            directions=["maximize"] * (1 + asked.shifted),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP),
        )
        # A search that goes on is not to draw what it has drawn before.
        drawn = asked.seed * 10_000 + len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=drawn)

    @property
    def model(self) -> str:
        """The architecture's name."""
        return self._asked.model

    @property
    def ended(self) -> int:
        """How many have."""
        return sum(trial.state.is_finished() for trial in self._study.trials)

    @property
    def data(self) -> Job:
        """What brings home the data set that epochs are timed with."""
        return Job(f"{self.name}-data", self._asked.choices, ("download",))

    @property
    def sizes(self) -> list[int]:
        """Of batches that are thought of."""
        return sorted({*BATCHES, self._model.batch_size})

    @property
    def timed(self) -> bool:
        """Is it known how long an epoch takes?"""
        return "seconds" in self._study.user_attrs

    def limit(self, seconds: Sequence[float]) -> str:
        """Let trials have as many epochs as there is time for; in words.

        Args:
            seconds: that an epoch takes with batches of each of `sizes`.

        Raises:
            UserError: no recipe is as fast as asked for.
        """
        # A list of pairs: Optuna keeps JSON, which has no numbers as keys.
        self._study.set_user_attr("seconds", list(zip(self.sizes, seconds, strict=True)))
        most = self._most
        taken = ", ".join(f"{own:.1f} s with batches of {size}" for size, own in self._seconds.items())
        slow = [str(size) for size in self.sizes if size not in most]
        return f"an epoch takes {taken}" + (f"; there is no time for one with {', '.join(slow)}" if slow else "")

    def jobs(self) -> Iterator[Job]:
        """What is to be run: the recipe that the model has, what an earlier search has left, then new trials.

        A trial is of the first seed alone, so that there can be more of them.

        Raises:
            UserError: no recipe is as fast as asked for.
        """
        guesses = self._guesses
        if "now" not in self._study.user_attrs:
            yield self._job(f"{self.name}-now", {})
        for left in self._study.get_trials(states=[TrialState.RUNNING]):
            yield self._job(self._begin(Trial(self._study, left._trial_id)), left.params)
        if not self._study.trials:
            for guess in guesses:
                self._study.enqueue_trial(guess)
        while self._asked_of_optuna < self._asked.trials and self._minutes < self._asked.minutes:
            trial = self._draw()
            yield self._job(self._begin(trial), trial.params)

    def finalists(self) -> Iterator[Job]:
        """What is to be run when all trials have ended: the best, with all seeds.

        Raises:
            UserError: no trial has come to its end.
        """
        ended = self._recipes
        if not ended:
            raise UserError("no trial has come to its end, for the reasons above")
        chosen = best_of(ended) if self._asked.shifted else most_accurate_first(ended)[:FINALISTS]
        if len(self._composed.seeds) == 1:  # with which they have been trained
            self._final = chosen
            return
        self._finalists = {f"{one.experiment}-seeds": one for one in chosen}
        for name, one in self._finalists.items():
            # Null is said, too: what the model has may be something else.
            values = {key: "null" if value is None else value for key, value in one.settings.items()}
            yield self._job(name, values)

    def seeds_of(self, name: str) -> list[int]:
        """That an experiment's trainings have."""
        if name == self.data.name:
            return []
        return self._composed.seeds[:1] if name in self._running else self._composed.seeds

    def hopeless(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
        """The experiments whose trials Optuna gives up.

        Args:
            curves: of every training that runs, by its experiment: (epoch, accuracy on validation images).
        """
        if self._asked.shifted:  # Optuna gives nothing up where two things are looked for
            return []
        found = []
        for name, trial in self._running.items():
            known = self._told.get(name, 0)
            for epoch, accuracy in curves.get(name, [])[known:]:
                trial.report(accuracy, round(100 * epoch / trial.params["epochs"]))
                self._told[name] = epoch
            if len(curves.get(name, [])) > known and trial.should_prune():
                found.append(name)
        return found

    def end(self, name: str, answer: object, metrics: Sequence[Mapping[str, float]]) -> str:
        """Take down what came of an experiment; in words.

        Args:
            answer: the engine's.
            metrics: what MLflow has of its trainings, one for each seed.
        """
        if name == self.data.name:
            if isinstance(answer, UserError):
                raise answer
            return "the data is there"
        problem = str(answer) if isinstance(answer, UserError) else "" if metrics else "MLflow lacks its trainings"
        if name == f"{self.name}-now":
            if problem:
                raise UserError(f"{name}: {problem}")
            recipe = self._recipe(name, {}, metrics)
            self._study.set_user_attr("now", asdict(recipe))
            return f"{in_words(recipe)}, which {self.model} has"
        if name in self._finalists:
            if problem:
                return problem
            recipe = self._recipe(name, self._finalists[name].settings, metrics)
            self._final.append(recipe)
            return in_words(recipe)
        trial = self._running[name]
        if isinstance(answer, Cancelled) or problem:
            del self._running[name]
            self._study.tell(trial, state=TrialState.PRUNED if isinstance(answer, Cancelled) else TrialState.FAIL)
            return GIVEN_UP if isinstance(answer, Cancelled) else problem
        recipe = self._recipe(name, trial.params, metrics)
        del self._running[name]
        trial.set_user_attr("recipe", asdict(recipe))
        self._study.tell(trial, [recipe.accuracy] if recipe.shifted is None else [recipe.accuracy, recipe.shifted])
        return in_words(recipe)

    def found(self) -> Found:
        """What has been found, when the finalists have ended.

        Raises:
            UserError: no finalist has come to its end.
        """
        if not self._final:
            raise UserError("no finalist has come to its end, for the reasons above")
        given_up = len(self._study.get_trials(states=[TrialState.PRUNED]))
        now = Recipe(**self._study.user_attrs["now"])
        return Found(self.name, now, self._recipes, given_up, self._final, best_of(self._final))

    @property
    def _model(self) -> Training:
        """How the model is trained now."""
        return self._composed.models[self.model]

    @property
    def _seconds(self) -> dict[int, float]:
        """That an epoch takes, by the size of its batches."""
        return {int(size): float(seconds) for size, seconds in self._study.user_attrs["seconds"]}

    @property
    def _most(self) -> dict[int, int]:
        """Epochs that there is time for, by the size of batches, of the sizes with which it is enough for one.

        Raises:
            UserError: there is none.
        """
        now, faster, seconds = self._model, self._asked.faster, self._seconds
        if faster is None:
            return dict.fromkeys(seconds, now.epochs)
        whole = now.epochs * seconds[now.batch_size]
        # Rounded first: a tenth of the epochs, with the same batches, is to be a tenth of the time.
        fit = {size: int(round(whole / faster / own, 9)) for size, own in seconds.items()}
        if not any(fit.values()):
            raise UserError(
                f"an epoch of {self.model} takes {min(seconds.values()):.2g} s at least, and a {faster:g}th of the "
                f"{whole:.2g} s that it trains for now is less: ask for less with --faster"
            )
        return {size: min(now.epochs, epochs) for size, epochs in fit.items() if epochs}

    @property
    def _recipes(self) -> list[Recipe]:
        """Of the trials that were not given up."""
        done = self._study.get_trials(states=[TrialState.COMPLETE])
        return [Recipe(**trial.user_attrs["recipe"]) for trial in done]

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._begun) / 60

    @property
    def _asked_of_optuna(self) -> int:
        return sum(trial.state is not TrialState.WAITING for trial in self._study.trials)

    @property
    def _guesses(self) -> list[dict[str, object]]:
        """What one would try by hand: batches as they are, as many epochs as there is time for, some times the rate."""
        now, most = self._model, self._most
        size = min(most, key=lambda size: abs(size - now.batch_size))
        guess = {"recipe": "brief", "initialisation": "xavier", "batch_size": size, "epochs": most[size]}
        return [{**guess, "lr": min(rise * now.lr, RATES[1])} for rise in RISES]

    def _draw(self) -> Trial:
        """Optuna's next."""
        trial, most = self._study.ask(), self._most
        trial.suggest_categorical("recipe", SCHEDULES)
        trial.suggest_categorical("initialisation", INITIALISATIONS)
        trial.suggest_float("lr", *RATES, log=True)
        size = trial.suggest_categorical("batch_size", tuple(most))
        trial.suggest_int("epochs", 1, most[size])
        return trial

    def _begin(self, trial: Trial) -> str:
        name = f"{self.name}-{trial.number}"
        self._running[name] = trial
        return name

    def _job(self, name: str, settings: Mapping[str, object]) -> Job:
        own = [f"++models.{self.model}.{key}={value}" for key, value in settings.items()]
        return Job(
            name,
            (*self._asked.choices, *own),
            tuple(f"train@{self.model}-{seed}" for seed in self.seeds_of(name)),
        )

    def _recipe(self, name: str, settings: Mapping[str, object], metrics: Sequence[Mapping[str, float]]) -> Recipe:
        chosen = {key: None if value == "null" else value for key, value in settings.items()}
        now = self._model.model_copy(update=chosen)
        seeds, data = self.seeds_of(name), self._composed.data.name
        return Recipe(
            name,
            schedule=now.recipe or self._composed.recipe,
            lr=now.lr,
            batch_size=now.batch_size,
            epochs=now.epochs,
            initialisation=now.initialisation,
            seeds=len(seeds),
            accuracy=fmean(one["validation/best accuracy"] for one in metrics),
            shifted=shifted_accuracy(name, self.model, seeds, data) if self._asked.shifted else None,
            seconds=now.epochs * self._seconds[now.batch_size],
        )


def in_words(recipe: Recipe) -> str:
    """What came of it."""
    shifted = "" if recipe.shifted is None else f", shifted {recipe.shifted:.2%},"
    return f"{recipe.accuracy:.2%}{shifted} in {recipe.seconds:.1f} s ({recipe})"


def outputs(experiment: str) -> dict[str, str]:
    """The paths of all outputs that an experiment at home has, and their digests (MD5)."""
    from ruamel.yaml import YAML

    lock = YAML(typ="safe").load(repository.git("show", f"{sweep.reference(experiment)}:dvc.lock"))
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def epoch_seconds(model: str, sizes: Sequence[int], composed: Params, experiment: str, room: Resources) -> list[float]:
    """Seconds that an epoch takes with batches of each size, on a node where nothing else of the search runs.

    Args:
        experiment: one that has the data, at home.

    Raises:
        MissingError: DVC's cache lacks the data.
        UserError: as `timing.epochs`.
    """
    from shiftlab.data import dataset
    from shiftlab.tracking.history import Cache

    with tempfile.TemporaryDirectory() as folder:
        digest = outputs(experiment)[str(dataset.path(composed.data.name))]
        data = Cache.of_repository().copy(digest, Path(folder, "data")).read_bytes()
    task = ("timing", (model, sizes, composed, data))
    ((_, answer),) = engine.results(timing.epochs, [task], room)
    if isinstance(answer, UserError):
        raise answer
    seconds: list[float] = answer
    return seconds


def shifted_accuracy(experiment: str, model: str, seeds: Sequence[int], data: str) -> float:
    """On validation images as `random5` moves them, 0..1: the mean of an experiment's trainings with these seeds.

    Args:
        data: name of the data set.

    Raises:
        MissingError: DVC's cache lacks weights or data.
    """
    from shiftlab.data import dataset
    from shiftlab.data.dataset import Examples
    from shiftlab.models import weights
    from shiftlab.shifts.boundaries import shift_each
    from shiftlab.shifts.grids import named_set
    from shiftlab.tracking.history import Cache
    from shiftlab.training import loop

    outs, cache = outputs(experiment), Cache.of_repository()
    accuracies = []
    with tempfile.TemporaryDirectory() as folder:
        known = dataset.load(cache.copy(outs[str(dataset.path(data))], Path(folder, "data")))
        validation = known.validation
        shifts = named_set("random5", len(validation), 0)
        moved = Examples(shift_each(validation.images, shifts, "zero", known.frame), validation.labels)
        for seed in seeds:
            file = cache.copy(outs[str(weights.path(model, seed))], Path(folder, "weights"))
            network = weights.load(model, file, known.shape, len(known.classes))
            accuracies.append(loop.score(network, moved)[1])
    return fmean(accuracies)
