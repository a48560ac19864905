"""Neutral texts: plain statements about everyday things, of any length, that say nothing about problems or answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

SENTENCES = (
    "Along the coast, gulls follow the fishing boats back into the harbour.",
    "Most of the old orchard was planted with pears and plums.",
    "In autumn the river carries leaves from the beech woods above the town.",
    "A narrow path leads from the station to the lake behind the hills.",
    "Fresh bread cools on wooden shelves near the open window.",
    "Snow stays on the northern slopes until late in spring.",
    "The museum keeps a collection of painted tiles and glass bottles.",
    "Swallows build their nests under the roofs of the barns.",
    "Rain fell softly on the tents beside the meadow.",
    "Many of the houses in this street have green shutters.",
    "At low tide, children look for shells between the rocks.",
    "Wool from the valley is washed, spun and dyed in the mill.",
    "Behind the chapel stands a lime tree with a bench around it.",
    "Lanterns hang above the market when the evenings grow dark.",
    "Honey from the heath tastes a little of thyme.",
    "Fog often covers the fields before the sun comes over the ridge.",
    "The ferry crosses the sound in the morning and at dusk.",
    "Wild geese rest on the marsh on their way to the south.",
    "Copper roofs turn green in the salty air of the island.",
    "A gardener in a straw hat waters the roses by the wall.",
    "Under the bridge, the water is deep and almost black.",
    "Linen curtains move in the draught of the long corridor.",
    "The baker's cat sleeps on a sack of flour by the oven.",
    "Sheep graze on the dyke and look out over the sea.",
    "Moss covers the stones on the shady side of the well.",
    "In the attic, somebody found letters, a violin and a wedding dress.",
    "Cherry trees bloom along the canal for a short time in April.",
    "Old maps show a village where the reservoir is now.",
    "The lighthouse keeper painted the railing white every summer.",
    "Pine needles make the forest floor soft and quiet.",
    "On clear nights, the mountains can be seen from the pier.",
    "Potters in the next valley use a grey clay from the river bank.",
    "An owl lives in the tower and is rarely seen by day.",
    "Carpets from the east were hung over the balcony to air.",
    "Steam rises from the kettle while the radio plays a waltz.",
    "The theatre has red seats and a ceiling with painted clouds.",
    "Willows bend over the stream and touch the water.",
    "Salt was once carried across this pass by mules.",
    "Hedgehogs come into the garden when the lamps are out.",
    "Bells from the monastery can be heard across the bay.",
)
"""Without numbers, requests, questions or words of teaching; no two begin with the same two words."""


def neutral_tokens(tokenizer: Any, text: int, count: int) -> list[int]:
    """The first tokens of a neutral text.

    Args:
        tokenizer: The teacher's tokenizer.
        text: Which text, from 0; the first `len(SENTENCES)` begin with different sentences.
        count: Number of tokens.
    """
    size = len(SENTENCES)
    while True:
        # Tokenised as a whole, because a tokenizer may write a sentence differently at the start of a text.
        ids: list[int] = tokenizer(" ".join(islice(_sentences(text), size)), add_special_tokens=False)["input_ids"]
        if len(ids) >= count:
            return ids[:count]
        size *= 2


def _sentences(text: int) -> Iterator[str]:
    """One sentence after the other, in an order of its own; all of them before any is repeated."""
    order = np.random.default_rng(0).permutation(len(SENTENCES))
    first, random = int(order[text % len(SENTENCES)]), np.random.default_rng([1, text])
    yield SENTENCES[first]
    yield from (SENTENCES[index] for index in random.permutation(len(SENTENCES)).tolist() if index != first)
    while True:
        yield from (SENTENCES[index] for index in random.permutation(len(SENTENCES)).tolist())
