"""Histories of a world in which index versions are built, swapped, taken back and dropped between the runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import cast

from simulation.building_world import BITTER, SETTINGS, BuildingWorld
from simulation.history import ATTEMPTS, IDLE_SECONDS, History, Maintain, Race, Run, Step, Wait, Writer
from simulation.world import Chance, World

BUILDS = (*(f"build {name}" for name in SETTINGS), "build again")


@dataclass(frozen=True)
class Build:
    """A build, tried again up to `retries` times after its leases have ended; published, or held."""

    seed: int
    chance: Chance
    settings: str
    publish: bool
    retries: int

    def __call__(self, world: World) -> None:
        building = cast(BuildingWorld, world)
        building.rng, building.chance = random.Random(self.seed), self.chance
        ended = building.build(self.settings, publish=self.publish)
        for _ in range(self.retries):
            if ended:
                break
            building.wait(building.longest_lease_seconds)
            ended = building.build(again=True)


@dataclass(frozen=True)
class RollBack:
    seed: int
    chance: Chance

    def __call__(self, world: World) -> None:
        world.rng, world.chance = random.Random(self.seed), self.chance
        cast(BuildingWorld, world).roll_back()


@dataclass(frozen=True)
class Drop:
    seed: int
    chance: Chance

    def __call__(self, world: World) -> None:
        world.rng, world.chance = random.Random(self.seed), self.chance
        cast(BuildingWorld, world).drop()


@dataclass(frozen=True)
class LoseArtefacts:
    def __call__(self, world: World) -> None:
        cast(BuildingWorld, world).lose_artefacts()


class _Writer(Writer):
    """Makes steps of both kinds."""

    def text(self, uri: str) -> str:
        text = super().text(uri)
        return f"{text}\nA {BITTER}.\n" if self.rng.random() < 0.2 else text

    def building(self) -> Step:
        seed, dice = self.rng.getrandbits(32), self.rng.random()
        if dice < 0.35:
            publish = self.rng.random() < 0.8
            return Build(seed, self.chance(), self.rng.choice(list(SETTINGS)), publish, self.rng.randrange(3))
        if dice < 0.75:
            others = self.rng.choices(
                (*ATTEMPTS, "new", "new", "rollback", "drop", *BUILDS), k=self.rng.choice([1, 1, 2])
            )
            return Race(seed, self.chance(), (self.rng.choice(BUILDS), *others))
        if dice < 0.87:
            return RollBack(seed, self.chance())
        return Drop(seed, self.chance())


def written(seed: int, *, times: dict[str, float]) -> History:
    """The history of a seed: a first run, then edits, runs, builds and what else befalls versions, and waits."""
    writer = _Writer(random.Random(seed))
    history: History = [*(writer.edit() for _ in range(4)), Run(writer.rng.getrandbits(32), Chance())]
    for _ in range(writer.rng.randrange(2, 5)):
        history += [writer.edit() for _ in range(writer.rng.randrange(3))]
        history.append(writer.work() if writer.rng.random() < 0.3 else writer.building())
        if writer.rng.random() < 0.1:
            history.append(LoseArtefacts())
        if writer.rng.random() < 0.25:
            history.append(Maintain(writer.rng.getrandbits(32), writer.chance(), writer.rng.choice(IDLE_SECONDS)))
        history.append(Wait(times["sweep"] if writer.rng.random() < 0.3 else times["lease"]))
    return history
