"""A search for a recipe: trials are experiments, chosen by Optuna from what earlier ones came to on validation images.

The test set is not looked at. The search is kept in tune.db, and goes on from there.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

from shiftlab import files, repository
from shiftlab.cluster import engine
from shiftlab.cluster.engine import Ended, Room
from shiftlab.errors import UserError, extra
from shiftlab.experiments import node, sweep, timing
from shiftlab.experiments.node import Job
from shiftlab.params import Params

with extra("tune"):
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import Trial, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)
STORAGE = "sqlite:///tune.db"
FOLDER = Path("tuning")
GIVEN_UP = "given up: worse than most trials were by then"
SCHEDULES = ("notebook", "fast", "brief")
INITIALISATIONS = ("null", "xavier")
RATES = (1e-4, 1e-1)  # of learning, on a logarithmic scale
BATCHES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
STARTUP = 8  # trials that are drawn at random; before so many have ended, none is given up
WARM_UP = 25  # % of a trial's epochs, before which it is not given up
SLACK = 1.2  # times the seconds asked for, within which a trial may be fast enough: beside others it is timed badly
FINALISTS = 4  # trials that are timed together in the end


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    model: str
    choices: tuple[str, ...]  # of all trials, as `dvc exp run -S` takes them
    trials: int
    minutes: float  # after which no trial is begun
    faster: float  # in how many times less training time than with the recipe that the model has
    shifted: bool  # is accuracy on shifted validation images looked for, too?
    seed: int  # of what is drawn


@dataclass(frozen=True)
class Recipe:
    """What a training came to."""

    experiment: str
    schedule: str  # of the learning rate: one of `training.RECIPES`
    lr: float
    batch_size: int
    epochs: int
    initialisation: str | None  # of the weights; None: PyTorch's
    accuracy: float  # on validation images, of the best epoch; this and the next two are means over seeds
    shifted: float | None  # on the same, each moved by up to 5 pixels as in PROTOCOL.md's `random5`
    seconds: float  # of training, beside other trials
    alone: float | None = None  # seconds without, of those that were timed so

    def __str__(self) -> str:
        own = f", {self.initialisation}" if self.initialisation else ""
        return f"{self.schedule}, lr {self.lr:.4g}, batch {self.batch_size}, {self.epochs} epochs{own}"

    @property
    def settings(self) -> dict[str, object]:
        """As `params.Training` calls them."""
        own = ("lr", "batch_size", "epochs", "initialisation")
        return {"recipe": self.schedule, **{name: getattr(self, name) for name in own}}


@dataclass(frozen=True)
class Found:
    """What a search has come to."""

    name: str
    now: Recipe  # the one that the model has, timed alone
    recipes: list[Recipe]  # of the trials that were not given up
    given_up: int
    best: list[Recipe]  # of those as fast as asked for, timed alone: one; of two things, those that none beats

    def __str__(self) -> str:
        """The recipe now and the best, as a table in Markdown."""
        head = ["experiment", "recipe", "validation", "validation, shifted", "training", "times faster"]
        rows = [head, ["---"] * len(head)]
        for one in (self.now, *self.best):
            shifted = "" if one.shifted is None else f"{one.shifted:.2%}"
            assert one.alone
            assert self.now.alone
            speed = [f"{one.alone:.1f} s", f"{self.now.alone / one.alone:.1f}"]
            rows.append([one.experiment, str(one), f"{one.accuracy:.2%}", shifted, *speed])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def carry_out(asked: Search, address: str, tell: Callable[[str], object], cores: int | None = None) -> Found:
    """Run trials until there are enough, or no time is left to begin one; log the search as the parent of their runs.

    Args:
        address: Ray's, or "local".
        cores: how many of this machine's are used, where it is.

    Raises:
        UserError: the model or a choice is unknown; no trial met what is asked; as `sweep.carry_out`.
    """
    everything = sweep.settled((f"model={asked.model}", *asked.choices))
    composed = sweep.composed(everything)
    if asked.model not in composed.models:
        raise UserError(f"{shlex.join(everything)} leaves no model {asked.model!r}: don't choose another")
    room = Room(composed.threads, int(composed.device == "cuda"))

    from shiftlab.models import weights  # seconds to import
    from shiftlab.track import recording, runs
    from shiftlab.track.store import connect

    with sweep.ready(address, room, cores, stored=False) as home:
        trials = Trials(replace(asked, choices=everything), composed)
        store = connect(composed.data.name)
        parent = runs.parent(store, trials.name, {"data": composed.data.name, "tune": asked.model})
        home = replace(home, environment={**home.environment, "SHIFTLAB_PARENT_RUN": parent.id})
        tasks = ((job.name, (job, home)) for job in trials.jobs())
        at_once = max(1, engine.cores() // room.cpus)
        with tqdm(total=asked.trials, initial=trials.ended, desc=trials.name, unit="trial") as bar:
            for name, answer in engine.results(
                node.run, tasks, room, at_once, lambda: trials.hopeless(runs.validation_curves(store) or {})
            ):
                if isinstance(answer, Ended):
                    runs.give_up(store, name, GIVEN_UP)
                elif not isinstance(answer, UserError) and not home.root:
                    sweep.bring_home([name])
                trained = []
                if not isinstance(answer, Ended | UserError):
                    outs = outputs(name)
                    ends = [outs[str(weights.path(asked.model, seed))] for seed in composed.seeds]
                    trained = [found for found in (runs.metrics(store, digest) for digest in ends) if found]
                tell(f"{name}: {trials.end(name, answer, trained)}")
                bar.update(trials.ended - bar.n)
        tell("the most accurate are timed, one at a time")
        found = trials.found(functools.partial(seconds_alone, asked.model, composed, f"{trials.name}-now", room))
    folder = FOLDER / asked.model
    write(found, folder)
    recording.log_search(parent, str(found), folder)
    return found


class Trials:
    """The trials of a search, between Optuna, which chooses, and the engine, which runs them."""

    def __init__(self, asked: Search, composed: Params) -> None:
        self._asked, self._composed = asked, composed
        what = [repository.commit(), *asked.choices, f"{asked.faster:g} {asked.shifted} {asked.seed}"]
        self.name = f"tune-{asked.model}-{hashlib.sha256(shlex.join(what).encode()).hexdigest()[:6]}"
        self._begun = time.monotonic()
        self._running: dict[str, Trial] = {}
        self._told: dict[str, int] = {}  # of each that runs: epochs that Optuna knows of
        self._early: list[tuple[Trial, Recipe]] = []  # what has ended before the recipe that the model has
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
    def ended(self) -> int:
        """How many have."""
        finished: int = sum(trial.state.is_finished() for trial in self._study.trials)
        return finished + len(self._early)

    def jobs(self) -> Iterator[Job]:
        """What is to be run: the recipe that the model has, what an earlier search has left, then new trials."""
        if "now" not in self._study.user_attrs:
            yield self._job(f"{self.name}-now", {})
        for left in self._study.get_trials(states=[TrialState.RUNNING]):
            yield self._job(self._begin(Trial(self._study, left._trial_id)), left.params)
        if not self._study.trials:
            self._study.enqueue_trial(self._guess)
        while self._asked_of_optuna < self._asked.trials and self._minutes < self._asked.minutes:
            trial = self._study.ask(self._space)
            yield self._job(self._begin(trial), trial.params)

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
        if name == f"{self.name}-now":
            if isinstance(answer, UserError) or not metrics:
                raise answer if isinstance(answer, UserError) else UserError(f"MLflow has no training of {name}")
            recipe = self._recipe(name, {}, metrics)
            self._study.set_user_attr("now", asdict(recipe))
            for trial, early in self._early:
                self._tell(trial, early)
            self._early.clear()
            return f"{recipe.accuracy:.2%} in {recipe.seconds:.1f} s, with the recipe that {self._asked.model} has"
        trial = self._running.pop(name)
        if isinstance(answer, Ended):
            self._study.tell(trial, state=TrialState.PRUNED)
            return GIVEN_UP
        if isinstance(answer, UserError) or not metrics:
            self._study.tell(trial, state=TrialState.FAIL)
            return str(answer) if isinstance(answer, UserError) else "MLflow has no training of it"
        recipe = self._recipe(name, trial.params, metrics)
        if "now" in self._study.user_attrs:
            self._tell(trial, recipe)
        else:
            self._early.append((trial, recipe))
        also = "" if recipe.shifted is None else f", shifted {recipe.shifted:.2%},"
        return f"{recipe.accuracy:.2%}{also} in {recipe.seconds:.1f} s ({recipe})"

    def found(self, alone: Callable[[Sequence[Recipe]], Sequence[float]]) -> Found:
        """What has been found, the most accurate tried first for their speed.

        Args:
            alone: gives the seconds that each of some recipes trains for, on a machine that does nothing else.

        Raises:
            UserError: no trial is as fast as asked for.
        """
        now = Recipe(**self._study.user_attrs["now"])
        done = self._study.get_trials(states=[TrialState.COMPLETE])
        recipes = [Recipe(**trial.user_attrs["recipe"]) for trial in done]
        left = [one for one in recipes if self._excess(one.seconds, now.seconds) <= 0]
        while left:
            tried = best_of(left) if self._asked.shifted else most_accurate_first(left)[:FINALISTS]
            left = [one for one in left if one not in tried]
            of_now, *others = alone((now, *tried))
            timed = [replace(one, alone=seconds) for one, seconds in zip(tried, others, strict=True)]
            fast = [one for one, seconds in zip(timed, others, strict=True) if seconds * self._asked.faster <= of_now]
            if fast:
                given_up = len(self._study.get_trials(states=[TrialState.PRUNED]))
                return Found(self.name, replace(now, alone=of_now), recipes, given_up, best_of(fast))
        raise UserError(
            f"none of {len(recipes)} trials trained in a {self._asked.faster:g}th of the {now.seconds:.0f} s that "
            f"{self._asked.model} takes now: ask for more trials, or for less with --faster"
        )

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._begun) / 60

    @property
    def _asked_of_optuna(self) -> int:
        return sum(trial.state is not TrialState.WAITING for trial in self._study.trials)

    @property
    def _guess(self) -> dict[str, object]:
        """What one would try by hand: as few epochs as there is time for, at ten times the rate."""
        now = self._composed.models[self._asked.model]
        return {
            "schedule": "brief",
            "initialisation": "xavier",
            "lr": min(10 * now.lr, RATES[1]),
            "batch_size": min(BATCHES, key=lambda size: abs(size - now.batch_size)),
            "epochs": max(1, int(now.epochs / self._asked.faster)),
        }

    @property
    def _space(self) -> dict[str, BaseDistribution]:
        epochs = self._composed.models[self._asked.model].epochs
        # Larger batches take less time, so that a few more epochs may be as fast as asked for.
        most = max(1, round(2 * epochs / self._asked.faster)) if self._asked.faster > 2 else epochs
        return {
            "schedule": CategoricalDistribution(SCHEDULES),
            "initialisation": CategoricalDistribution(INITIALISATIONS),
            "lr": FloatDistribution(*RATES, log=True),
            "batch_size": CategoricalDistribution(BATCHES),
            "epochs": IntDistribution(1, most),
        }

    def _begin(self, trial: Trial) -> str:
        name = f"{self.name}-{trial.number}"
        self._running[name] = trial
        return name

    def _job(self, name: str, params: Mapping[str, object]) -> Job:
        model = self._asked.model
        own = [f"++models.{model}.{'recipe' if key == 'schedule' else key}={value}" for key, value in params.items()]
        return Job(name, (*self._asked.choices, *own), tuple(f"train@{model}-{seed}" for seed in self._composed.seeds))

    def _recipe(self, name: str, params: Mapping[str, object], metrics: Sequence[Mapping[str, float]]) -> Recipe:
        now = self._composed.models[self._asked.model]
        had = {
            "schedule": str(now.recipe or self._composed.recipe),
            "lr": now.lr,
            "batch_size": now.batch_size,
            "epochs": now.epochs,
            "initialisation": now.initialisation,
        }
        settings = {key: None if value == "null" else value for key, value in {**had, **params}.items()}
        shifted = None
        if self._asked.shifted:
            seeds, data = self._composed.seeds, self._composed.data.name
            shifted = shifted_accuracy(name, self._asked.model, seeds, data)
        accuracy, seconds = (
            fmean(one[key] for one in metrics) for key in ("validation/best accuracy", "train/seconds")
        )
        return Recipe(name, accuracy=accuracy, shifted=shifted, seconds=seconds, **settings)  # type: ignore[arg-type]

    def _tell(self, trial: Trial, recipe: Recipe) -> None:
        trial.set_user_attr("recipe", asdict(recipe))
        trial.set_constraint("time", self._excess(recipe.seconds, self._study.user_attrs["now"]["seconds"]))
        values = [recipe.accuracy] if recipe.shifted is None else [recipe.accuracy, recipe.shifted]
        self._study.tell(trial, values)

    def _excess(self, seconds: float, now: float) -> float:
        """At most 0 where a trial, which was timed beside others, may be fast enough."""
        return seconds * self._asked.faster / (SLACK * now) - 1


def most_accurate_first(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Of equals the fastest."""
    return sorted(recipes, key=lambda one: (-one.accuracy, one.seconds))


def best_of(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The most accurate, of equals the fastest; where shifted images count too, those that no other beats in both."""
    ordered = most_accurate_first(recipes)
    if ordered[0].shifted is None:
        return ordered[:1]
    front: list[Recipe] = []
    for one in ordered:
        if not front or one.shifted > front[-1].shifted:  # type: ignore[operator]
            front.append(one)
    return front


def outputs(experiment: str) -> dict[str, str]:
    """The paths of all outputs that an experiment at home has, and their digests (MD5)."""
    from ruamel.yaml import YAML

    lock = YAML(typ="safe").load(repository.git("show", f"{sweep.reference(experiment)}:dvc.lock"))
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def seconds_alone(model: str, composed: Params, experiment: str, room: Room, recipes: Sequence[Recipe]) -> list[float]:
    """Seconds that each recipe trains for, on a node where nothing else of the search runs.

    Args:
        experiment: one that has the data, at home.

    Raises:
        MissingError: DVC's cache lacks the data.
    """
    from shiftlab.data import dataset
    from shiftlab.track.history import Cache

    trainings = [composed.models[model].model_copy(update=one.settings) for one in recipes]
    with tempfile.TemporaryDirectory() as folder:
        digest = outputs(experiment)[str(dataset.path(composed.data.name))]
        data = Cache.of_repository().copy(digest, Path(folder, "data")).read_bytes()
    task = ("timing", (model, trainings, composed, data))
    ((_, answer),) = engine.results(timing.in_turn, [task], room)
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
    from shiftlab.learn import training
    from shiftlab.measure.regimes import shift_each
    from shiftlab.measure.shifts import named_set
    from shiftlab.models import weights
    from shiftlab.track.history import Cache

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
            accuracies.append(training.score(network, moved)[1])
    return fmean(accuracies)


def write(found: Found, folder: Path) -> None:
    """Write search.md, recipes.csv and search.png.

    Raises:
        OSError: as `files.write`.
    """
    from shiftlab.show import plots

    header = [field.name for field in fields(Recipe)]
    files.write(folder / "recipes.csv", files.table(header, map(astuple, (found.now, *found.recipes))))
    asked = f"{found.name}: {len(found.recipes)} trials, and {found.given_up} given up"
    files.write(folder / "search.md", f"{asked}. First the recipe that the model has.\n\n{found}\n")
    points = []
    for one in (found.now, *found.recipes):
        what = one.seconds if one.shifted is None else one.shifted
        best = one.experiment in {best.experiment for best in found.best}
        mark = "now" if one is found.now else "BEST" if best else one.experiment.rpartition("-")[2]
        points.append(plots.Point(f"{mark}: {one}", (what,) * 3, (one.accuracy,) * 3, one.lr))
    across = "training (s)" if found.now.shifted is None else "accuracy on shifted validation images"
    drawn = plots.scatter(points, across, "accuracy on validation images", "learning rate", asked)
    files.write(folder / "search.png", drawn)
