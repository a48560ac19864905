r"""The pattern of a number, and of what looks like one: `7 C 2`, `3+`, `2ab`.

Every alternative matches a bounded span, so a search takes time linear in the length of the text.
"""

from __future__ import annotations

import re

SPACES = "\u00a0\u2006\u2007\u2009\u202f"
"""Spaces that group digits: no-break, six-per-em, figure, thin and narrow."""
_SEPARATOR = rf"(?:,(?:\\!)?|\{{,\}}|\\[,;:!]|[.:'\u2019_]|(?<!\.\d\d)(?:\\?[ ]|[~{SPACES}])(?=\d{{3}}(?!\d)))"
_RUN = rf"(?:\d{{1,60}}+|\.\d{{1,60}}+)(?:{_SEPARATOR}\d{{1,60}}+){{0,6}}"
"""Digits, with separators between them but no gaps."""
_DIVISOR = rf"(?:\d{{1,20}}+|\.\d{{1,20}}+)(?:{_SEPARATOR}\d{{1,20}}+){{0,4}}"
"""The same as a numerator or denominator, which is shorter."""
_VULGAR = "[\u00bc-\u00be\u2150-\u215e]"
_CURRENCIES = "$\u20ac\u00a3\u00a5\u20b9"
_FRAC = r"\\[dtc]?frac"
ARGUMENT = rf"(?:\s?\{{\s?(?:[-\u2212]\s?)?{_DIVISOR}\s?\}}|\s?\d)"
RAISED = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b"
_POWER = (
    r"(?:<sup>\s?[-\u2212]?\d{1,3}\s?</sup>"
    rf"|\^\s?\{{\s?[-\u2212+]?\d{{1,3}}\s?\}}|\^\s?[-\u2212+]?\d{{1,3}}|[{RAISED}]{{1,4}})"
)
_EITHER = r"(?:\u00b1|\\pm(?![A-Za-z]))[ ]?"
_TEXT = r"\\(?:text|mathrm|mbox)\s?\{\s{0,2}"
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_INDEX = r"(?:\{\s?\d{1,3}\s?\}|\d{1,3})"
_COMBINATION = rf"""(?:
    \\[dt]?binom\s?\{{[^{{}}]{{1,20}}\}}\s?\{{[^{{}}]{{1,20}}\}}
  | \{{[^{{}}\\]{{1,20}}\\choose[^{{}}\\]{{1,20}}\}}
  | (?:\{{\}})?[\^_]{_INDEX}\s?(?-i:[CP])_?{_INDEX}
  | \b(?-i:[CP])[_^]{_INDEX}[_^]{_INDEX}
  | \b(?:(?-i:n?[CP]|n[CP]r)|comb|perm|binom)\s?\(\s?\d{{1,3}}\s?,\s?\d{{1,3}}\s?\)
)"""
"""Combinations and permutations, whose numbers alone are not the value."""
PRODUCT = r"(?-i:abc?|bc|xyz?|xz|yz|pqr?|qr|mn|uvw?|vw|rst)(?![A-Za-z])"
"""Variables behind a coefficient that are no unit and no word."""
_GREEK = (
    r"(?-i:\\(?:alpha|beta|[gG]amma|[dD]elta|(?:var)?epsilon|[tT]heta|[lL]ambda|pi|psi|rho|[sS]igma|tau|(?:var)?[pP]hi"
    r"|omega)(?![A-Za-z])|[\u03b1-\u03bb\u03bd-\u03c9\u0394])"
)
"""Letters that stand for numbers; mu and a capital omega are units."""
_OR_MORE = "more|less|fewer|greater|above|below|over|under|up|higher|lower|older|younger|larger|smaller|bigger|longer"
_ORDERS = (
    "ways?|orders?|arrangements?|permutations?|combinations?|possib\\w{3,8}|different|distinct|sequences?|rankings?"
)
NUMBER = re.compile(
    rf"""
    # What a number can begin with, so that most positions are skipped at once.
    (?=[-\u2212\u2013.\\\u00b1{{^_{_CURRENCIES}\d\u00bc-\u00be\u2150-\u215e]
      |\b(?:negative|minus|comb|perm|binom|n?[CP]r?[ ]?[_^(]|(?:US|CA|AU|NZ|HK|[AC])\\?[{_CURRENCIES}]))
    (?P<either>{_EITHER})?
    (?P<sign>[-\u2212\u2013][ ]?|\b(?:negative|minus)[ ])?
    (?P<currency>(?:\b(?:US|CA|AU|NZ|HK|[AC]))?\\?[{_CURRENCIES}][ ]?)?
    (?P<sign2>[-\u2212\u2013])?
    (?:
        # Digits behind a letter belong to a name, as in "x2"; behind a command, a factor or a currency they do not.
        # Nor are exponents of letters, dates of spreadsheets ("Jan-02") and parts of names ("GPT-4") quantities.
        (?<!\d)(?<!\d[.,:'_])
        (?:(?<![A-Za-z_])|(?<=[\s*]_)|(?<=[\s*]__)|(?<=times)|(?<=cdot)|(?<=\\div)|(?<=\\n)|(?<=oxed)|(?<=\dx)|(?<=USD)|(?<=Rs))
        (?<![A-Za-z}}]\^)(?<![A-Za-z}}][_^]\{{)(?<!(?:{_MONTHS})-)(?<!(?-i:[A-Z]{{2}})-)
        (?P<run>{_RUN})
        (?:
            e(?P<exponent>[-\u2212+]?\d{{1,3}})(?!\w|\.\d)
          | \s?(?:\\times|\\cdot|[x*\u00d7\u00b7])\s?10\s?(?P<tens>{_POWER})(?!\w|\.\d)
          | (?P<power>{_POWER})(?!\w|\.\d)
          | \s?[/\u2044]\s?(?P<denominator>{_DIVISOR})
          | [ ](?:and[ ])?(?P<above>\d{{1,6}})[/\u2044](?P<below>\d{{1,6}})(?!\d|\.\d)
          | [ ]?(?P<fraction>{_FRAC}{ARGUMENT}{{2}})
          | [ ]?(?P<vulgar>{_VULGAR})
          | (?P<half>[ ]and[ ](?:a|one)[ -]half\b)
        )?
        (?:(?:[ -]?|(?:[ ~]|\\[ ,;:])?{_TEXT})(?P<magnitude>hundred|thousand|lakh|million|crore|billion|trillion)s?\b
          | (?:{_TEXT})?(?P<letter>(?-i:k|K|M|B|bn|(?(currency)(?:m[mn]?|b)|(?!)))\b(?![ ]?[-+*/][ ]?\d)))?
      | (?P<alone>{_VULGAR}|{_FRAC}{ARGUMENT}{{2}})
      | (?P<other>(?:{_FRAC}\s?\{{[^{{}}]{{0,60}}\}}|\\sqrt(?:\[\d\])?)\s?\{{[^{{}}]{{0,60}}\}}|{_COMBINATION})
    )
    # What turns the number before it into something else: more digits, a period that repeats, a variable, a root.
    (?P<rest>
        \d | \.?\\(?:overline|bar|dot)\s?\{{?\d{{0,20}}\}}? | \.\(\d{{1,20}}\) | /\d{{1,20}} | -\d{{1,6}}/\d{{1,6}}
      | \s?{_FRAC} | [ ]?{_GREEK} | [ ]?(?:\\sqrt\s?|\u221a)\{{?\d{{0,20}}\}}?
      | [ ]?{_EITHER}[\d.]{{0,20}}
      | (?:[bijnqruvwyz]|(?-i:[acdefopt](?!\.m)))\b | k(?=[ ]?[-+*/][ ]?\d) | h\d{{1,2}} | {PRODUCT}
      | [ ]?(?-i:[CP])[ ]?_?{_INDEX} | [ ](?:\\?choose|n?[CP]r)[ ]?{_INDEX} | [ ]?\\choose[ ]?{_INDEX}
      | x(?=$|[^\w\s]|\s?[-+=)]) | e\d | [ -]digit | \^(?!\s?\{{?\\circ) | _[\{{\\] | <sub>\s?\d{{0,3}}\s?(?:</sub>)?
      | -\d{{1,4}}-\d{{1,4}} | -(?:{_MONTHS})[a-z]{{0,6}}\b | [{RAISED}]
      | !(?=[ ]?=|[ ]?(?:[-+*/\u00d7\u00f7\u00b7]|\\times|\\cdot|\\div)[ ]?[\d(\\]|[ ](?:{_ORDERS})\b)
      # Bounds and ranges.
      | \+(?=[ ]?(?:\Z|[}}\]),;$*\n]|\.(?:\s|\Z)|[a-z]{{3,20}}\b)) | [ ](?:or|and)[ ](?:{_OR_MORE})\b(?![ ]precisely)
      | (?:\.{{2,3}}|\u2026|[ ]?(?:~|\\sim|---?|\u2014)[ ]?)[{_CURRENCIES}]?\d{{1,20}}
    )?
    (?:(?=(?P<ellipsis>\.\.|\u2026|\\[lc]?dots))|)
    """,
    re.VERBOSE | re.IGNORECASE,
)
