"""Histories: what happens in a world, as plain steps that a seed makes, a person reads and `shrunk` shortens.

Each step carries its own seed, so that leaving one out changes nothing in the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.world import NAMES, WORDS, Chance, World

MAX_SHRINKING_REPLAYS = 150
ATTEMPTS = ("new", "again", "again", "gamma", "reader", "maintain", "alpha", "gamma/one")
# How long nothing happens before a maintenance: less than anything is kept, longer than artefacts, longer than history.
IDLE_SECONDS = (0, 4_000, 100_000)


@dataclass(frozen=True)
class Edit:
    """The source changes: a document gets this text, or is gone."""

    uri: str
    text: str | None

    def __call__(self, world: World) -> None:
        world.edit(self.uri, self.text)


@dataclass(frozen=True)
class Run:
    """A run, tried again up to `retries` times after its leases have ended."""

    seed: int
    chance: Chance
    subpath: str = ""
    retries: int = 0

    def __call__(self, world: World) -> None:
        world.rng, world.chance = random.Random(self.seed), self.chance
        ended = world.run(subpath=self.subpath)
        for _ in range(self.retries):
            if ended:
                break
            world.wait(world.longest_lease_seconds)
            ended = world.run(again=True)


@dataclass(frozen=True)
class Race:
    """Attempts at once: a new run and others of it or after it, each past the leases of the others if time jumps."""

    seed: int
    chance: Chance
    attempts: tuple[str, ...]

    def __call__(self, world: World) -> None:
        world.rng, world.chance = random.Random(self.seed), self.chance
        world.race(self.attempts)


@dataclass(frozen=True)
class Wait:
    seconds: float

    def __call__(self, world: World) -> None:
        world.wait(self.seconds)


@dataclass(frozen=True)
class Erase:
    """A document is erased, or an attempt is made that stops half-way."""

    seed: int
    chance: Chance
    uri: str

    def __call__(self, world: World) -> None:
        world.rng, world.chance = random.Random(self.seed), self.chance
        world.erase(self.uri)


@dataclass(frozen=True)
class Maintain:
    """After some time what has expired is removed, or an attempt is made that stops half-way."""

    seed: int
    chance: Chance
    idle_seconds: float

    def __call__(self, world: World) -> None:
        world.wait(self.idle_seconds)
        world.rng, world.chance = random.Random(self.seed), self.chance
        world.maintain()


Step = Callable[[World], None]
History = list[Step]


@dataclass
class Writer:
    """Makes steps; knows the texts so far, so that an edit can be taken back (A-B-A)."""

    rng: random.Random
    texts: dict[str, list[str | None]] = field(default_factory=dict)

    def edit(self) -> Edit:
        uri = self.rng.choice(NAMES)
        earlier = self.texts.setdefault(uri, [None])
        dice = self.rng.random()
        if dice < 0.25 and len(earlier) > 1:
            text = self.rng.choice(earlier[:-1])
        elif dice < 0.4:
            text = None
        else:
            text = self.text(uri)
        earlier.append(text)
        return Edit(uri, text)

    def text(self, uri: str) -> str:
        paragraphs = [
            " ".join(self.rng.choice(WORDS) for _ in range(12)) + f" {self.rng.randrange(3)}."
            for _ in range(self.rng.randrange(1, 4))
        ]
        links = " ".join(f"[see](/{other})" for other in NAMES if other != uri and self.rng.random() < 0.3)
        return f"# {uri} {self.rng.randrange(2)}\n\n" + "\n\n".join(paragraphs) + f"\n\n{links}\n"

    def chance(self) -> Chance:
        choice = self.rng.choice
        return Chance(
            fails=choice([0, 0.05, 0.3]),
            loses_answer=choice([0, 0.1]),
            twice=choice([0, 0.5]),
            late=choice([0, 0.1]),
            kills=choice([0, 0.02, 0.1]),
        )

    def work(self) -> Step:
        seed = self.rng.getrandbits(32)
        if self.rng.random() < 0.15:
            return Erase(seed, self.chance(), self.rng.choice(NAMES))
        if self.rng.random() < 0.15:
            return Maintain(seed, self.chance(), self.rng.choice(IDLE_SECONDS))
        if self.rng.random() < 0.4:
            attempts = tuple(self.rng.choice(ATTEMPTS) for _ in range(self.rng.choice([1, 2])))
            return Race(seed, self.chance(), ("new", *attempts))
        return Run(seed, self.chance(), self.rng.choice(["", "", "gamma"]), self.rng.randrange(3))


def written(seed: int, *, times: dict[str, float]) -> History:
    """The history of a seed: edits, runs, races and waits in turn."""
    writer = Writer(random.Random(seed))
    history: History = []
    for _ in range(writer.rng.randrange(2, 5)):
        history += [writer.edit() for _ in range(writer.rng.randrange(1, 4))]
        history.append(writer.work())
        history.append(Wait(times["sweep"] if writer.rng.random() < 0.3 else times["lease"]))
    return history


def shrunk(history: History, *, fails: Callable[[History], bool]) -> History:
    """A shorter history that fails as well: steps are left out, the later ones first, until each is needed.

    One-minimal, as the last phase of Zeller's ddmin; bounded by `MAX_SHRINKING_REPLAYS`.
    """
    replays, position = 0, len(history) - 1
    while position >= 0 and replays < MAX_SHRINKING_REPLAYS:
        shorter = [*history[:position], *history[position + 1 :]]
        replays += 1
        if shorter and fails(shorter):
            history = shorter
            position = min(position, len(history))
        position -= 1
    return history


def told(history: History) -> str:
    """One line a step."""
    return "\n".join(f"  {step!r}" for step in history)


def play(history: History, world: World) -> None:
    for step in history:
        step(world)
