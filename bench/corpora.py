"""What is ingested: documents that are made up, the same for the same seed, and READMEs that people wrote."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

COMMON_CHARACTERS = 1_000, 60_000
SENTENCES = (
    "The {0} keeps a {1} of every {2}.",
    "When a {1} is lost, the {0} asks the {2} again.",
    "Each {2} names one {0}, and never two.",
    "A {0} without its {1} is not shown to any {2}.",
)
NOUNS = ("ledger", "graph", "vector", "batch", "plan", "reader", "writer", "store", "queue", "source", "chunk", "gate")


def document(seed: int, paragraphs: int = 40, names: Sequence[str] = ()) -> str:
    """A Markdown document of about 42 chunks for 40 paragraphs, the same for the same seed.

    Each paragraph ends with the first of `names`, which is common then, and with another one, which is not.
    """
    dice = random.Random(seed)
    lines = [f"# Chapter {seed}"]
    for number in range(paragraphs):
        if number % 5 == 0:
            lines.append(f"## Part {number // 5} of {seed}")
        sentences = [dice.choice(SENTENCES).format(*dice.sample(NOUNS, 3)) for _ in range(8)]
        if names:
            sentences.append(f"So {names[0]} and {dice.choice(names)} agree.")
        lines.append(" ".join([*sentences, f"{seed}-{number}."]))
    return "\n\n".join(lines) + "\n"


def write_readmes(folder: Path, *, documents: int, characters: tuple[int, int] = COMMON_CHARACTERS) -> None:
    """The first packages by name whose README is of such a size: always the same ones for one lock."""
    texts = {each.name: str(each.metadata.json.get("description", "")) for each in metadata.distributions()}
    smallest, largest = characters
    fitting = [(name, text) for name, text in texts.items() if smallest <= len(text) <= largest]
    for name, text in sorted(fitting)[:documents]:
        (folder / f"{name}.md").write_text(text)
