"""Agreement of two readers. Pure arithmetic; Cohen, Educ. Psychol. Meas. 20 (1960), 37-46."""

from collections import Counter
from collections.abc import Sequence


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return kappa over (first reader's class, second reader's class) of the same cells.

    None where it is not defined: no cells, or both readers used one and the same class only.
    """
    if not pairs:
        return None
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[key] * second[key] for key in first) / total**2
    if expected == 1:
        return None
    return (observed - expected) / (1 - expected)


def kappa_per_class(pairs: Sequence[tuple[str, str]]) -> dict[str, float | None]:
    """Return kappa of "this class or not" for each class either reader used."""
    used = sorted({key for pair in pairs for key in pair})
    return {key: cohens_kappa([(str(a == key), str(b == key)) for a, b in pairs]) for key in used}
