r"""The extractor `last-calculation`: the result of the last calculation in an answer.

Answers to one- and two-step problems often state a calculation and then continue, as in "12 + 5 = 17 pens, in 3 boxes".
There the last number is 3, but the calculated value is 17. A value in a box, after `####` or after "answer is" takes
precedence over a calculation, and without "= number" it reads what `robust` reads.
"""

from __future__ import annotations

import re
from fractions import Fraction

from kdprobe import Extraction
from kdprobe.problems import extract, last_match, matches

# Bounded, so that time is linear in the length of the text.
_RESULT = re.compile(
    r"=\s{0,3}(?:[$€£]\s?)?(?P<sign>[-\u2212]\s?)?(?P<whole>\d{1,3}(?:,\d{3}){1,12}(?!\d)|\d{1,40}+)"
    r"(?:\.(?P<decimals>\d{1,40}))?(?!\s{0,3}[-+*/\u00d7\u00f7]\s{0,3}\d)"
)


class LastCalculation:
    """Reads the last `= number` that no further calculation follows, else what `robust` reads."""

    def extract(self, text: str) -> Extraction:
        """Returns the value; never raises."""
        plain = extract(text)
        found = last_match(_RESULT, text)
        if found is None or plain.rule not in {"last-number", "none"}:
            return plain
        written = found["whole"].replace(",", "") + (f".{found['decimals']}" if found["decimals"] else "")
        value = Fraction(written) * (-1 if found["sign"] else 1)
        start = found.start("sign") if found["sign"] else found.start("whole")
        return Extraction(value, "last-calculation", (start, found.end()), text[start : found.end()])

    def is_right(self, extraction: Extraction, gold: str) -> bool:
        """Whether the value equals the gold value exactly."""
        return matches(extraction, gold)
