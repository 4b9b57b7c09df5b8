"""The book: what was sent, and what the server has acknowledged. The other side of the ledger's truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

from tests.crash.script import OPENED, Post

Fact = tuple[str, str]
DUPLICATE = "duplicate"


class Book:
    """Facts by how often they were sent, and with which verdicts they were acknowledged."""

    def __init__(self) -> None:
        self.sent: Counter[Fact] = Counter()
        self.verdicts: dict[Fact, list[str]] = {}
        self.acknowledged = 0  # answers that said that something is kept
        self.unexpected: list[str] = []  # answers that are no acknowledgement and no 503
        self._posts: dict[Fact, Post] = {}

    def sends(self, post: Post) -> None:
        """Noted before the first byte leaves."""
        self.sent[post.fact] += 1
        self._posts[post.fact] = post

    def acknowledges(self, post: Post, verdict: str) -> None:
        """Noted once the answer is there: from now on it must not be lost."""
        self.verdicts.setdefault(post.fact, []).append(verdict)
        self.acknowledged += 1

    def unacknowledged(self) -> list[Post]:
        """Callbacks nobody knows the fate of: a provider sends them again."""
        return [post for fact, post in self._posts.items() if fact not in self.verdicts and post.word != OPENED]

    def some_acknowledged(self, dice: Random, most: int) -> list[Post]:
        """Callbacks that were acknowledged and come again, late."""
        known = [self._posts[fact] for fact in self.verdicts if fact[1] != OPENED]
        return dice.sample(known, min(most, len(known)))

    def copy(self) -> Book:
        """The same sendings and acknowledgements, to go on from."""
        return self.as_of(self, ())

    def as_of(self, earlier: Book, answers: Iterable[tuple[Post, str]]) -> Book:
        """All that was sent, with only these acknowledgements beside those of an earlier moment."""
        book = Book()
        book.sent, book._posts = self.sent.copy(), dict(self._posts)
        book.unexpected = list(self.unexpected)
        book.verdicts = {fact: list(verdicts) for fact, verdicts in earlier.verdicts.items()}
        book.acknowledged = earlier.acknowledged
        for post, verdict in answers:
            book.acknowledges(post, verdict)
        return book
