"""Word lists: the stop words of the BM25 terms, and the common words that are no proof of a name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# English function words; those that are also names of things in programs (`is`, `not`, `in`) carry no search either.
_STOP_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can cannot could did do does doing don down during each few for from further had has have having he her here
hers herself him himself his how i if in into is isn it its itself just ll me more most must my myself no nor not
now of off on once only or other our ours ourselves out over own re s same shall she should so some such t than that
the their theirs them themselves then there these they this those through to too under until up ve very was we were
what when where which while who whom why will with would you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@cache
def common_words() -> frozenset[str]:
    """Some 21,000 lower-case English words of three letters and more."""
    lines = Path(__file__).with_name("common_words.txt").read_text(encoding="ascii").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
