"""Numbers in texts of a notebook, and where they come from."""

import math
import re
from collections.abc import Iterable, Sequence

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
RELATIVE, ABSOLUTE = 0.05, 0.02


def numbers(text: str) -> list[float]:
    """Return the numbers in a text, without their signs; digits in a word are none."""
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def unfounded(texts: Iterable[str], shown: Iterable[str], code: Iterable[str]) -> list[str]:
    """Return the numbers in ``texts`` that are none of the outputs, rounded as the text rounds.

    A number of a code cell, such as a parameter, is as good. Of a percentage also the fraction is
    meant. Headings' numbers and code in a text are passed over.
    """
    there = [number for text in (*shown, *code) for number in numbers(text)]
    found = []
    for text in texts:
        told = re.sub(r"^#+ \d\d |`[^`]*`", "", text, flags=re.MULTILINE)
        for one in NUMBER.finditer(told):
            word = one.group().rstrip(",")
            percentage = told[one.end() :].lstrip().startswith("%")
            scales = (1.0, 100.0) if percentage else (1.0,)
            if not any(_rounds_to(number * scale, word) for number in there for scale in scales):
                found.append(f"{word} in: {text[:60]}")
    return found


def _rounds_to(number: float, word: str) -> bool:
    places = len(word.partition(".")[2])
    step = 10.0**-places
    return abs(number - float(word.replace(",", ""))) <= step / 2 * (1 + 1e-9)


def differing(fresh: Sequence[str], committed: Sequence[str]) -> list[tuple[str, str]]:
    """Return the lines whose numbers differ by more than a twentieth, and by more than 0.02:
    another processor may round otherwise, and a model may learn a little otherwise."""
    lines = [
        pair
        for now, before in zip(fresh, committed, strict=True)
        for pair in zip(now.splitlines(), before.splitlines(), strict=True)
    ]
    return [(now, before) for now, before in lines if not _close(now, before)]


def _close(now: str, before: str) -> bool:
    pairs = zip(numbers(now), numbers(before), strict=True)
    return all(math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in pairs)
