"""Words of simulated answers. Each is one token, with the space before it."""

from __future__ import annotations

from random import Random

_TEXT = """
a able about after again all also an and any are as at back be because before both but by call can check code come
could data day do done down each end even every file find first for from get give go good has have here how if in
into is it its job just keep know last let like line list long look make many may more most move must name need new
next no not now number of off old on once one only open or other our out over part place plan point put read report
result right run same say see set should show side so some start state step still stop such take task test than that
the their them then there these they thing think this those time to true try turn two under until up use value very
want was way we well what when where which while who will with work would write year yes yet you
"""
_WORDS = _TEXT.split()


def words(number: int, rng: Random) -> list[str]:
    """Some words, a full stop after every twelfth and the last."""
    found = [f" {word}" for word in rng.choices(_WORDS, k=number)]
    for position in range(11, number, 12):
        found[position] += "."
    if found and not found[-1].endswith("."):
        found[-1] += "."
    return found
