"""Prints every place that raises: its message, and the remedy that a test carries out, or why it has none."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own helpers

from tests.remedies import CASES, PLACES
from tests.remedies.test_remedies import import_cases, reason
from tests.remedies.without import WITHOUT


def main() -> None:
    import_cases()
    for key, place in PLACES.items():
        case, why = CASES.get(key), reason(place)
        if case is None and why is None:
            print(f"{key}\n    MISSING")
        elif "--missing" not in sys.argv:
            print(f"{key}\n    {place.error}: {place.message}")
            print(f"    remedy: {case.remedy}" if case else f"    no remedy: {why}")
    for key in sorted({*CASES, *WITHOUT} - {*PLACES}):
        print(f"{key}\n    GONE: no place has this key")
    found = [place for place in PLACES.values() if place.key in CASES]
    none = [place for place in PLACES.values() if place.key not in CASES and reason(place)]
    print(f"{len(PLACES)} places: {len(found)} with a remedy, {len(none)} without, the rest missing")


main()
