"""A corpus for pre-training from files: read, judged, without what repeats, with a part held out.

    stepladder corpus data/web data/books.parquet --output corpora/text

A killed run goes on where it was when the same command is given again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stepladder.config import ConfigError
from stepladder.corpora.classifier import QualityClassifier, train_classifier
from stepladder.corpora.duplicates import DuplicateSettings
from stepladder.corpora.prepare import Counts, Filters, prepare
from stepladder.corpora.quality import QualityRules
from stepladder.corpora.read import Columns, read_documents
from stepladder.images import ImageStore
from stepladder.run import Run, write_json
from stepladder.stats import success_rate

CLASSIFIER, CLASSIFIER_REPORT = "classifier.npz", "classifier.json"


@dataclass(frozen=True)
class CorpusConfig:
    """`sources` are files and folders (`corpora.read`), whose records have the names of `columns`. `output` is the corpus.

    With `filter` the rules of `rules` hold, with `deduplicate` duplicates as in `duplicates` are left out. `good` and `bad` are
    files of examples (both or none): a classifier learns from them, and documents with less than `least_score` are left out. One
    document in `held_out` is kept for evaluation (0: none)."""

    sources: tuple[Path, ...] = ()
    output: Path = Path("corpora/text")
    columns: Columns = field(default_factory=Columns)
    filter: bool = True
    rules: QualityRules = field(default_factory=QualityRules)
    good: Path | None = None
    bad: Path | None = None
    least_score: float = 0.5
    deduplicate: bool = True
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    held_out: int = 100
    seed: int = 0

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if not self.sources:
            raise ConfigError("sources: name at least one file or folder of documents")
        for source in (*self.sources, *(path for path in (self.good, self.bad) if path is not None)):
            if not source.exists():
                raise ConfigError(f"sources: there is no {source}")
        if (self.good is None) != (self.bad is None):
            raise ConfigError("good and bad: a classifier needs examples of both")
        if not 0 <= self.least_score <= 1:
            raise ConfigError(f"least_score is {self.least_score}; it must be 0 to 1")
        if self.held_out < 0:
            raise ConfigError(f"held_out is {self.held_out}; it must be 0 (none) or more")
        self.rules.check()
        self.duplicates.check()


def main(config: CorpusConfig, show: bool = True) -> Counts:
    """Prepare the corpus in `config.output` and say what was kept. Raises ConfigError, and CorpusError for unreadable files."""
    config.check()
    with Run(config.output, config) as run:
        classifier = _classifier(config, run.directory)
        filters = Filters(
            rules=config.rules if config.filter else None,
            classifier=classifier,
            least_score=config.least_score,
            duplicates=config.duplicates if config.deduplicate else None,
            held_out=config.held_out,
        )
        return prepare(config.sources, run.directory, config.columns, filters, show)


def _classifier(config: CorpusConfig, directory: Path) -> QualityClassifier | None:
    """The classifier of the run, learned where it is not there yet."""
    if config.good is None or config.bad is None:
        return None
    path = directory / CLASSIFIER
    if not path.exists():
        good, bad = (
            [document.text for document, _ in read_documents(source, ImageStore(), config.columns)]
            for source in (config.good, config.bad)
        )
        classifier, measured = train_classifier(good, bad, seed=config.seed)
        rate = success_rate(measured.correct, measured.count)
        write_json(
            directory / CLASSIFIER_REPORT,
            {"good": len(good), "bad": len(bad), "accuracy": rate.rate, "n": rate.n, "low": rate.low, "high": rate.high},
        )
        classifier.save(path)
    return QualityClassifier.load(path)
