"""Generates the documents of each task, the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from datasets import Dataset, DatasetDict

KINDS = {
    "animal": "dog cat horse cow lion tiger elephant rabbit wolf bear monkey goat sheep pig fox deer mouse",
    "bird": "eagle sparrow owl parrot crow robin pigeon swan hawk duck penguin goose falcon",
    "fruit": "apple banana orange grape pear peach cherry mango lemon plum strawberry pineapple",
    "vegetable": "carrot potato onion cabbage spinach broccoli cucumber pea radish turnip leek",
    "colour": "red blue green yellow purple brown pink grey black white violet turquoise",
    "tree": "oak pine maple birch willow cedar elm spruce beech fir",
    "flower": "rose tulip daisy lily orchid sunflower daffodil violet carnation",
    "metal": "iron gold silver copper tin zinc lead aluminium nickel titanium",
    "country": "France Germany Italy Spain Japan China India Brazil Canada Egypt Mexico Norway Peru Kenya",
    "city": "Paris London Berlin Rome Madrid Tokyo Chicago Moscow Vienna Boston Mumbai",
    "language": "English French German Spanish Latin Japanese Arabic Russian Hindi Greek",
    "instrument": "piano guitar violin trumpet flute drum cello harp clarinet saxophone banjo",
    "sport": "football tennis basketball baseball hockey golf rugby volleyball cricket badminton",
    "job": "doctor teacher lawyer nurse farmer engineer carpenter plumber chef dentist baker",
    "vehicle": "car bus truck train bicycle motorcycle boat van tractor ship",
    "insect": "ant bee butterfly mosquito beetle wasp moth grasshopper fly ladybug",
    "fish": "salmon trout tuna cod herring shark carp mackerel sardine",
    "planet": "Mars Venus Jupiter Saturn Mercury Neptune Uranus Earth",
    "month": "January February March April May June July August September October November December",
    "body part": "arm leg hand foot knee elbow shoulder finger toe neck ankle",
    "piece of clothing": "shirt jacket coat hat sock dress skirt scarf glove sweater trousers",
    "piece of furniture": "table chair sofa bed desk wardrobe bookcase bench stool",
}
ALSO = {"violet": {"colour", "flower"}, "orange": {"fruit", "colour"}, "rose": {"flower", "colour"}}
"""Words of several kinds: none of their other kinds is offered as a wrong answer."""
NEAR = (
    {"animal", "bird", "fish", "insect"},
    {"fruit", "vegetable", "tree", "flower"},
    {"country", "city"},
    {"metal", "colour"},
)
"""Kinds that include or overlap one another, so that one is no wrong answer for the other."""
OPPOSITES = """
hot cold|big small|up down|left right|day night|black white|good bad|happy sad|fast slow|old young|rich poor|hard soft
light dark|wet dry|open closed|full empty|high low|long short|strong weak|early late|first last|front back|true false
win lose|buy sell|push pull|love hate|life death|war peace|friend enemy|clean dirty|loud quiet|thick thin|wide narrow
deep shallow|heavy light|inside outside|above below|begin end|give take|come go|remember forget|laugh cry|north south
east west|summer winter|morning evening|male female|king queen|husband wife|success failure|question answer
cheap expensive|easy difficult|safe dangerous|alive dead|awake asleep|arrive leave|accept reject|increase decrease
positive negative|maximum minimum|public private|ancient modern|sweet sour|smooth rough|sharp dull|tight loose
brave cowardly|near far|more less
"""
SEQUENCES = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "I II III IV V VI VII VIII IX X XI XII",
    " ".join(map(str, range(1, 100))),
    "ten twenty thirty forty fifty sixty seventy eighty ninety",
    " ".join(map(str, range(1950, 2021))),
    " ".join(map(str, range(10, 301, 10))),
)
CHOICES = 4
SHOWN = 3
"""Elements of a sequence that a document shows."""


def kinds(**_: Any) -> DatasetDict:
    """What kind of thing a word names."""
    return _data(_kinds(Random(0)))  # noqa: S311 - not for secrets


def opposites(**_: Any) -> DatasetDict:
    """What the opposite of a word is, both ways round."""
    return _data(_opposites(Random(1)))  # noqa: S311 - not for secrets


def sequences(**_: Any) -> DatasetDict:
    """What comes next in a sequence that everybody knows."""
    return _data(_sequences(Random(2)))  # noqa: S311 - not for secrets


def _kinds(random: Random) -> Iterator[dict[str, Any]]:
    for kind, words in KINDS.items():
        near = set[str]().union(*(kinds for kinds in NEAR if kind in kinds))
        for word in words.split():
            wrong = [other for other in KINDS if other not in {kind, *near, *ALSO.get(word, ())}]
            yield _document(random, f"What kind of thing is {word}?", kind, wrong)


def _opposites(random: Random) -> Iterator[dict[str, Any]]:
    pairs = [pair.split() for line in OPPOSITES.split("\n") for pair in line.split("|") if pair]
    words = sorted({word for pair in pairs for word in pair})
    for pair in pairs:
        for word, opposite in (pair, pair[::-1]):
            # A word with two opposites is asked once for each, and the other is no wrong answer.
            right = {other for known in pairs if word in known for other in known}
            yield _document(random, f"What is the opposite of {word}?", opposite, [w for w in words if w not in right])


def _sequences(random: Random) -> Iterator[dict[str, Any]]:
    for sequence in SEQUENCES:
        elements = sequence.split()
        for start in range(len(elements) - SHOWN):
            *shown, following = elements[start : start + SHOWN + 1]
            wrong = [element for element in elements if element != following and element not in shown]
            yield _document(random, f"What comes next: {', '.join(shown)}?", following, wrong)


def _document(random: Random, question: str, right: str, wrong: Sequence[str]) -> dict[str, Any]:
    choices = [right, *random.sample(wrong, CHOICES - 1)]
    random.shuffle(choices)
    return {"text": f"Question: {question}\nAnswer:", "choices": choices, "gold": choices.index(right)}


def _data(documents: Iterator[dict[str, Any]]) -> DatasetDict:
    return DatasetDict(test=Dataset.from_list([*documents]))
