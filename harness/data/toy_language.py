"""A toy language: sentences of an English that is small, and their one translation into an invented tongue.

The tongue has words of its own, puts the adjective and the article behind the noun, marks the plural by a
word, the time before and the verb behind everything, and denies just before the verb. Nothing is lost:
`translate` has an inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ARTICLES = {"the": "sa", "a": "un", "this": "te", "every": "ol"}
ADJECTIVES = {
    "young": "vanu",
    "small": "piko",
    "red": "rasa",
    "quiet": "shilo",
    "brave": "korda",
    "tired": "mela",
    "happy": "jubi",
    "strange": "zorun",
}
NOUNS = {
    "king": "rego",
    "child": "nino",
    "farmer": "agra",
    "sailor": "mari",
    "teacher": "dosha",
    "dog": "waro",
    "bird": "tiri",
    "horse": "kavo",
    "fox": "zuto",
    "ship": "navi",
    "house": "domu",
    "tree": "arbo",
}
VERBS = {
    "see": "vidar",
    "follow": "sekar",
    "like": "amar",
    "remember": "memar",
    "call": "vokar",
    "find": "trovar",
    "paint": "pintar",
    "help": "judar",
}
TIMES = {"today": "odi", "often": "fremo", "again": "denu", "soon": "baldo"}
LINKS = {"and": "et", "because": "kia", "but": "sed"}
PLURALS = {"child": "children", "fox": "foxes"}
MANY, DENIED = "mu", "ne"


@dataclass(frozen=True)
class Thing:
    """An article, perhaps an adjective, and a noun; every noun but behind `a` and `every` may be many."""

    article: str
    adjective: str | None
    noun: str
    many: bool

    def english(self) -> list[str]:
        """The words in their order."""
        noun = PLURALS.get(self.noun, f"{self.noun}s") if self.many else self.noun
        article = "these" if self.many and self.article == "this" else self.article
        return [article, *([self.adjective] if self.adjective else []), noun]

    def foreign(self) -> list[str]:
        """Noun, plural, adjective, article."""
        many = [MANY] if self.many else []
        adjective = [ADJECTIVES[self.adjective]] if self.adjective else []
        return [NOUNS[self.noun], *many, *adjective, ARTICLES[self.article]]


@dataclass(frozen=True)
class Clause:
    """Who does what to whom."""

    subject: Thing
    verb: str
    object: Thing
    denied: bool
    time: str | None

    def english(self) -> list[str]:
        """The words in their order."""
        verb = ["did", *(["not"] if self.denied else []), self.verb]
        return [*self.subject.english(), *verb, *self.object.english(), *([self.time] if self.time else [])]

    def foreign(self) -> list[str]:
        """Time, subject, object, denial, verb."""
        time = [TIMES[self.time]] if self.time else []
        denied = [DENIED] if self.denied else []
        return [*time, *self.subject.foreign(), *self.object.foreign(), *denied, VERBS[self.verb]]


def pairs(count: int, random: np.random.Generator) -> list[tuple[str, str]]:
    """Different sentences of one clause or, one in three, of two, with their translations."""

    def pick(words: dict[str, str]) -> str:
        return list(words)[int(random.integers(len(words)))]

    def chance(one_in: int) -> bool:
        return int(random.integers(one_in)) == 0

    def thing() -> Thing:
        article = pick(ARTICLES)
        adjective = pick(ADJECTIVES) if chance(2) else None
        return Thing(article, adjective, pick(NOUNS), article in ("the", "this") and chance(3))

    def clause() -> Clause:
        return Clause(thing(), pick(VERBS), thing(), chance(4), pick(TIMES) if chance(3) else None)

    found: dict[str, str] = {}
    while len(found) < count:
        first = clause()
        english, foreign = first.english(), first.foreign()
        if chance(3):
            link, second = pick(LINKS), clause()
            english += [link, *second.english()]
            foreign += [LINKS[link], *second.foreign()]
        found[" ".join(english)] = " ".join(foreign)
    return list(found.items())
