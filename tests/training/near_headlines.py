"""How alike two headlines are, whatever company and numbers stand in them: Jaccard's share of common runs of letters.

`python tests/training/near_headlines.py` prints how alike our headlines are to each other and to the hard cases, so that
the limit can be judged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.hard_cases import hard_cases
from training.labelled import same_text
from training.own_headlines import Headline, own_headlines

GRAM: Final = {"en": 4, "zh-TW": 2}  # letters: a Chinese one says about as much as two Latin ones


def bare(one: Headline) -> str:
    """The letters of the headline without its company; every number is a 0."""
    return re.sub(r"\d+", "0", same_text(one.text.replace(one.company, "")))


def grams(one: Headline) -> frozenset[str]:
    """The runs of GRAM letters in its bare text; a shorter text is its own."""
    text, letters = bare(one), GRAM[one.language]
    return frozenset(text[at : at + letters] for at in range(max(len(text) - letters + 1, 1)))


def likeness(ones: Sequence[Headline], others: Sequence[Headline]) -> NDArray[np.float64]:
    """Jaccard's index of every pair, `ones` x `others`, 0 to 1."""
    places: dict[str, int] = {}
    sides = [[grams(one) for one in side] for side in (ones, others)]
    for one in (*sides[0], *sides[1]):
        for gram in one:
            places.setdefault(gram, len(places))
    told = []
    for side in sides:
        ends = np.cumsum([0, *(len(one) for one in side)])
        at = np.fromiter((places[gram] for one in side for gram in one), dtype=np.int64)
        told.append(csr_array((np.ones(len(at)), at, ends), shape=(len(side), len(places))))
    common = (told[0] @ told[1].T).toarray()
    sizes = [np.array([len(one) for one in side]) for side in sides]
    return common / (sizes[0][:, None] + sizes[1][None, :] - common)


def nearest(
    ones: Sequence[Headline], others: Sequence[Headline], at_least: float
) -> list[tuple[float, Headline, Headline]]:
    """The pairs that are so alike, the most alike first; a headline is no pair with itself."""
    alike = likeness(ones, others)
    pairs = [(float(alike[row, column]), ones[row], others[column]) for row, column in np.argwhere(alike >= at_least)]
    found = [pair for pair in pairs if pair[1] is not pair[2]]
    if ones is others:
        found = [pair for pair in found if pair[1].text < pair[2].text or pair[1].text == pair[2].text]
    return sorted(found, key=lambda pair: -pair[0])


def main(at_least: float) -> None:
    """Print both distributions and every pair that is `at_least` so alike."""
    own, hard = own_headlines(), hard_cases()
    for name, others in (("hard cases", hard), ("each other", own)):
        alike = likeness(own, others)
        if others is own:
            np.fill_diagonal(alike, 0)
        best = alike.max(axis=1)
        shares = " ".join(f"{share:.0%}<={np.quantile(best, share):.3f}" for share in (0.5, 0.9, 0.99, 0.999, 1))
        print(f"own beside {name}: the nearest one of each headline: {shares}")
        for share, one, other in nearest(own, others, at_least):
            print(f"  {share:.3f} {one.text}  |  {other.text}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2)
