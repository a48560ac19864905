"""Generates the documents of the task, the same every time: forms of English verbs, and cities and their countries."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from datasets import Dataset, DatasetDict

VERBS = """
go goes went going|eat eats ate eating|sing sings sang singing|swim swims swam swimming
drink drinks drank drinking|write writes wrote writing|speak speaks spoke speaking|drive drives drove driving
see sees saw seeing|take takes took taking|give gives gave giving|make makes made making
find finds found finding|sleep sleeps slept sleeping|teach teaches taught teaching|buy buys bought buying
bring brings brought bringing|think thinks thought thinking|tell tells told telling|sell sells sold selling
run runs ran running|begin begins began beginning|fly flies flew flying|draw draws drew drawing
know knows knew knowing|grow grows grew growing|throw throws threw throwing|wear wears wore wearing
break breaks broke breaking|choose chooses chose choosing|walk walks walked walking|play plays played playing
help helps helped helping|call calls called calling|work works worked working|cook cooks cooked cooking
dance dances danced dancing|laugh laughs laughed laughing|paint paints painted painting|clean cleans cleaned cleaning
"""
"""Base form, third person, past tense and present participle, all different."""
BEGINNINGS = {"They want to": 0, "Two years ago they": 2, "Last night he": 2, "She is good at": 3, "He left without": 3}
"""Beginnings of sentences, each with the only one of the four forms that can follow."""
COUNTRIES = """
France Paris Lyon Marseille Toulouse|Germany Berlin Munich Hamburg Cologne|Italy Rome Milan Naples Turin
Spain Madrid Barcelona Seville Bilbao|Portugal Lisbon Porto Braga Coimbra|Greece Athens Thessaloniki Patras Heraklion
Austria Vienna Salzburg Graz Innsbruck|Poland Warsaw Krakow Gdansk Poznan|Norway Oslo Bergen Trondheim Stavanger
Sweden Stockholm Gothenburg Malmo Uppsala|Finland Helsinki Turku Tampere Oulu|Denmark Copenhagen Aarhus Odense Aalborg
Ireland Dublin Cork Galway Limerick|Hungary Budapest Debrecen Szeged Pecs|Russia Moscow Novosibirsk Kazan Vladivostok
Turkey Ankara Istanbul Izmir Antalya|Japan Tokyo Osaka Kyoto Nagoya|China Beijing Shanghai Shenzhen Wuhan
Iran Tehran Isfahan Shiraz Tabriz|Iraq Baghdad Basra Mosul Kirkuk|Egypt Cairo Alexandria Luxor Aswan
Kenya Nairobi Mombasa Kisumu Nakuru|Morocco Rabat Casablanca Marrakesh Fez|Canada Ottawa Toronto Montreal Vancouver
Peru Lima Cusco Arequipa Iquitos|Australia Canberra Sydney Melbourne Perth|Brazil Brasilia Recife Manaus Fortaleza
Belgium Brussels Antwerp Ghent Bruges|Ukraine Kyiv Odesa Lviv Kharkiv|Switzerland Bern Zurich Geneva Basel
Netherlands Amsterdam Rotterdam Utrecht Eindhoven|Colombia Bogota Medellin Cali Barranquilla
Nigeria Abuja Ibadan Kano Enugu|Pakistan Islamabad Karachi Lahore Multan|Bulgaria Sofia Plovdiv Varna Burgas
Romania Bucharest Timisoara Brasov Iasi|Croatia Zagreb Zadar Dubrovnik Rijeka|Syria Damascus Aleppo Homs Latakia
Czechia Prague Brno Ostrava Pilsen|Algeria Algiers Oran Constantine Annaba
"""
"""Countries, each with its capital and three more cities."""
CHOICES = 4


def basics(**_: Any) -> DatasetDict:
    """Which form of a verb continues a sentence, in which country a city is, and what a country's capital is."""
    random = Random(0)  # noqa: S311 - not for secrets
    return DatasetDict(test=Dataset.from_list([*_verb_forms(random), *_cities(random), *_capitals(random)]))


def rows(table: str) -> list[list[str]]:
    """The rows of one of the tables above."""
    return [row.split() for line in table.split("\n") for row in line.split("|") if row]


def _verb_forms(random: Random) -> Iterator[dict[str, Any]]:
    for beginning, right in BEGINNINGS.items():
        for verb in rows(VERBS):
            yield _document(random, beginning, verb[right], [form for form in verb if form != verb[right]])


def _cities(random: Random) -> Iterator[dict[str, Any]]:
    countries = rows(COUNTRIES)
    names = [country for country, *_ in countries]
    for country, *cities in countries:
        for city in cities:
            wrong = random.sample([name for name in names if name != country], CHOICES - 1)
            yield _document(random, f"Question: In which country is {city}?\nAnswer:", country, wrong)


def _capitals(random: Random) -> Iterator[dict[str, Any]]:
    for country, capital, *cities in rows(COUNTRIES):
        yield _document(random, f"Question: What is the capital of {country}?\nAnswer:", capital, cities)


def _document(random: Random, text: str, right: str, wrong: list[str]) -> dict[str, Any]:
    choices = random.sample([right, *wrong], CHOICES)
    return {"text": text, "choices": choices, "gold": choices.index(right)}
