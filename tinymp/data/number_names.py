"""English names of whole numbers: 1204 is "one thousand two hundred four"."""

from __future__ import annotations

LARGEST = 10**12 - 1

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = ["", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split()]
_SCALES = ["", "thousand", "million", "billion"]


def spell(number: int) -> str:
    """Return the name of a whole number from 0 to `LARGEST`, as written in American English.

    Words are separated by spaces and the parts of 21 to 99 by a hyphen, without "and".

    Raises:
        ValueError: for a number outside that range.
    """
    if not 0 <= number <= LARGEST:
        raise ValueError(
            f"only whole numbers from 0 to {LARGEST:,} have names here, not {number:,}"
        )
    if number == 0:
        return _BELOW_TWENTY[0]
    words: list[str] = []
    for power in reversed(range(len(_SCALES))):
        group = number // 1000**power % 1000
        if group:
            words += [*_spell_group(group), _SCALES[power]]
    return " ".join(filter(None, words))


def _spell_group(group: int) -> list[str]:
    """Return the words of a number from 1 to 999."""
    hundreds, rest = divmod(group, 100)
    words = [_BELOW_TWENTY[hundreds], "hundred"] if hundreds else []
    if 0 < rest < 20:
        words.append(_BELOW_TWENTY[rest])
    elif rest:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens] + (f"-{_BELOW_TWENTY[ones]}" if ones else ""))
    return words
