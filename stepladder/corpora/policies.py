"""Policy documents: the rules of a made-up application, cases that they decide, and help for those who have to follow them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import article, item, random_of
from stepladder.words import NAMES, UI_WORDS, vocabulary

_ACTIONS = (
    ("refund an order", "orders"),
    ("delete an account", "accounts"),
    ("export the customer list", "lists"),
    ("change a shipping address", "addresses"),
    ("cancel a booking", "bookings"),
    ("share a document", "documents"),
    ("raise a discount", "discounts"),
    ("close a ticket", "tickets"),
    ("install a plugin", "plugins"),
    ("reset a password", "passwords"),
)
_ROLES = ("guest", "member", "editor", "manager", "owner")


@dataclass(frozen=True)
class Rule:
    """Who may do it: everybody from the role `least` on (an index of the roles), at most `most` a day, and with the approval of
    somebody of the role `approval` where that is given."""

    action: str
    plural: str
    least: int
    most: int
    approval: int | None

    def text(self) -> str:
        """The rule in one or two sentences."""
        who = "Everybody may" if self.least == 0 else f"Only {_listed(_ROLES[self.least :])} may"
        text = f"{who} {self.action}, at most {self.most} {self.plural} a day."
        if self.approval is not None:
            text += f" The {_ROLES[self.approval]} must approve it first."
        return text

    def decision(self, role: int, done: int, approved: bool) -> str:
        """ "yes", or "no" and which part of the rule forbids it."""
        if role < self.least:
            return f"no, {article(_ROLES[role])} may not {self.action}"
        if done >= self.most:
            return f"no, {self.most} {self.plural} a day are the most"
        if self.approval is not None and not approved:
            return f"no, the {_ROLES[self.approval]} has not approved it"
        return "yes"


def policy_text(seed: int, number: int, *, rules: int = 3, cases: int = 4) -> Document:
    """Document `number`: so many `rules` of an application and so many decided `cases`. The metadata have the application's name.
    Raises ConfigError for numbers that cannot be."""
    if not 1 <= rules <= len(_ACTIONS) or cases < 0:
        raise ConfigError(f"rules is {rules}, cases {cases}; 1 to {len(_ACTIONS)} and 0 or more")
    random = random_of("policies", seed, number)
    name, text = item(lambda: _policy(random, rules, cases), number, key=lambda made: made[1])
    return Document(text, source="policies", metadata={"application": name})


def _policy(random: Random, rules: int, cases: int) -> tuple[str, str]:
    name = " ".join(random.sample(vocabulary("train", UI_WORDS), 2))
    found = [_rule(random, *action) for action in random.sample(_ACTIONS, rules)]
    lines = [f"Policy of {name}", *(f"{place}. {rule.text()}" for place, rule in enumerate(found, start=1)), ""]
    for _ in range(cases):
        place = random.randrange(rules)
        rule = found[place]
        role, done, approved = random.randrange(len(_ROLES)), random.randint(0, rule.most + 1), random.random() < 0.5
        who = random.choice(vocabulary("train", NAMES))
        case = f"{who} is {article(_ROLES[role])}, has handled {done} {rule.plural} today"
        if rule.approval is not None:
            case += f" and has {'the' if approved else 'no'} approval of the {_ROLES[rule.approval]}"
        lines.append(f"{case}. May {who} {rule.action}? Rule {place + 1}: {rule.decision(role, done, approved)}")
    return name, "\n".join(lines) + "\n"


def _rule(random: Random, action: str, plural: str) -> Rule:
    least = random.randrange(len(_ROLES) - 1)
    approval = random.randint(least + 1, len(_ROLES) - 1) if random.random() < 0.4 else None
    return Rule(action, plural, least, random.randint(2, 9), approval)


def _listed(roles: tuple[str, ...]) -> str:
    plural = [f"{role}s" for role in roles]
    return plural[0] if len(plural) == 1 else f"{', '.join(plural[:-1])} and {plural[-1]}"
