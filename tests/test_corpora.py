"""Corpora: what files are read as, what is kept of them, and that a killed preparation goes on where it was."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from stepladder import cli
from stepladder.codec import from_json, to_json
from stepladder.config import ConfigError
from stepladder.corpora import open_corpus
from stepladder.corpora.corpus import LoadedCorpus
from stepladder.corpora.document import Document
from stepladder.corpora.duplicates import DuplicateSettings
from stepladder.corpora.prepare import Counts, Filters, _Preparation, prepare
from stepladder.corpora.quality import QualityRules
from stepladder.corpora.read import Columns, CorpusError, Position, files_of, read_documents
from stepladder.corpora.stored import DOCUMENTS, INDEX, StoredCorpus
from stepladder.images import ImageStore, encode_png
from stepladder.stages.corpus import CorpusConfig, main
from stepladder.types import ImageRef

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
NOTHING_LEFT_OUT = Filters(rules=None, duplicates=None, held_out=0)


def picture(number: int) -> bytes:
    """A PNG that differs from number to number."""
    return encode_png(np.full((4, 6, 3), number, np.uint8))


IMAGE = st.builds(ImageRef, st.integers(0, 2**256 - 1).map("{:064x}".format), st.integers(1, 99), st.integers(1, 99))
DOCUMENT = st.builds(
    Document,
    text=TEXT,
    images=st.lists(IMAGE, max_size=2).map(tuple),
    source=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


def read(source: Path, start: Position | None = None, **more: object) -> list[Document]:
    return [document for document, _ in read_documents(source, ImageStore(), start=start, **more)]  # type: ignore[arg-type]


def write_lines(path: Path, records: Sequence[object]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


# ------------------------------------------------------------------------------------------------------------------ documents


@settings(max_examples=40)
@given(DOCUMENT)
def test_documents_as_json(document: Document) -> None:
    assert from_json(Document, json.loads(json.dumps(to_json(document)))) == document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "\ud800"}, "surrogates"),
        ({"metadata": {"url": "\udfff"}}, "surrogates"),
        ({"metadata": {"pages": 3}}, r"metadata\['pages'\] must be a text"),
        ({"score": float("nan")}, "finite"),
    ],
)
def test_documents_that_cannot_be(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(Document("a"), **change)  # type: ignore[arg-type]


def test_the_key_tells_text_and_pictures_apart() -> None:
    image = ImageRef("0" * 64, 6, 4)
    keys = {Document("a").key, Document("b").key, Document("a", (image,)).key, Document("a", (image, image)).key}
    assert len(keys) == 4
    assert Document("a", source="x", score=1.0).key == Document("a").key


# ---------------------------------------------------------------------------------------------------------------------- files


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.builds(Document, text=TEXT, source=TEXT, metadata=st.dictionaries(TEXT, TEXT, max_size=2)), max_size=6), st.data()
)
def test_lines_and_rows_give_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], data: st.DataObject
) -> None:
    """Of JSONL, plain and packed, and Parquet: everything, and everything from any position on."""
    folder = tmp_path_factory.mktemp("read")
    lines = write_lines(folder / "a.jsonl", [to_json(document) | {"text": document.text} for document in documents])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    rows = [{"text": one.text, "source": one.source, "metadata": json.dumps(dict(one.metadata))} for one in documents]
    schema = pyarrow.schema([(name, pyarrow.string()) for name in ("text", "source", "metadata")])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), folder / "c.parquet", row_group_size=2)
    start = data.draw(st.integers(0, len(documents)))
    named = [replace(one, source=one.source or "a") for one in documents]
    assert read(folder / "a.jsonl", name="a") == named
    for name in ("a.jsonl", "b.jsonl.gz"):
        assert read(folder / name, Position(0, start), name="a") == named[start:]
    texts = [
        one.text for one, _ in read_documents(folder / "c.parquet", ImageStore(), Columns(metadata="none"), Position(0, start))
    ]
    assert texts == [one.text for one in documents[start:]]


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.sampled_from([".jsonl", ".parquet", ".tar", ".txt", ".jsonl.gz"]),
)
def test_any_bytes_are_documents_or_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    path.write_bytes(content)
    dropped: list[str] = []
    found: list[Document] = []
    said = str(path)
    try:
        found += (one for one, _ in read_documents(path, ImageStore(), dropped=lambda where, why: dropped.append(where)))
    except CorpusError as error:
        said = str(error)
    assert str(path) in said
    assert all(str(path) in where for where in dropped)


def test_broken_records_are_named_or_left_out(tmp_path: Path) -> None:
    lines = [
        '{"text": "one"}',
        "",
        '{"text": "two"',
        "[1]",
        '{"body": "x"}',
        '{"text": 3}',
        '{"text": "a", "score": "b"}',
        '{"text": "last"}',
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(CorpusError, match=r"x\.jsonl, line 3: no JSON"):
        read(path)
    dropped: dict[str, str] = {}
    assert [one.text for one in read(path, dropped=dropped.__setitem__)] == ["one", "last"]
    assert {where.rpartition(" ")[2]: why.split(":")[0] for where, why in dropped.items()} == {
        "3": "no JSON",
        "4": "an object is needed, not list",
        "5": "there is no 'text'; the record has body",
        "6": "'text' must be a text, not int",
        "7": "'score' must be a number, not str",
    }


def test_other_names_of_columns(tmp_path: Path) -> None:
    record = {"body": "A text.", "from": "wiki", "quality": 2, "lang": "en", "year": 1999, "about": {"url": "https://a.b/c"}}
    columns = Columns(text="body", source="from", score="quality", metadata="about", kept=("lang", "year"))
    found = read(write_lines(tmp_path / "x.jsonl", [record]), columns=columns)
    assert found == [Document("A text.", (), "wiki", {"url": "https://a.b/c", "lang": "en", "year": "1999"}, 2.0)]
    parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", columns=columns) == found
    with pytest.raises(CorpusError, match="has no column 'text'; it has body"):
        read(tmp_path / "x.parquet")


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_webdataset_shards(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"shard-000.tar{packed}"
    members = {
        "a/1.png": picture(1),
        "a/1.txt": b"one",
        "a/1.json": b'{"url": "https://x.y", "text": "not this"}',
        "a/2.jpg": picture(2),
        "a/2.json": b'{"text": "two"}',
        "a/2.cls": b"7",
        "b/1.0.png": picture(3),
        "b/1.1.png": picture(4),
        "b/2.json": b"{",
        "b/3.txt": b"\xff",
        "b/4.txt": b"four",
    }
    with tarfile.open(path, "w:gz" if packed else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    images, dropped = ImageStore(), dict[str, str]()
    found = list(read_documents(path, images, dropped=dropped.__setitem__))
    assert [(one.text, len(one.images), dict(one.metadata)) for one, _ in found] == [
        ("one", 1, {"url": "https://x.y"}),
        ("two", 1, {}),
        ("", 2, {}),
        ("four", 0, {}),
    ]
    assert images.get(found[2][0].images[1]) == picture(4)
    assert list(dropped) == [f"{path}, sample b/2", f"{path}, sample b/3"]
    for place, (_, position) in enumerate(found):
        rest = [one for one, _ in read_documents(path, ImageStore(), start=position, dropped=lambda where, why: None)]
        assert rest == [one for one, _ in found[place + 1 :]]
    whole = path.read_bytes()
    for cut in (len(whole) // 2, *(() if packed else (len(whole) // 2 + 100, 1536))):  # 1536: where a member ends
        path.write_bytes(whole[:cut])
        with pytest.raises(CorpusError, match="shard-000"):
            read(path, dropped=lambda where, why: None)


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """Files in the order of their paths, pictures by their paths, and a position in the middle of all of it."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_bytes(b"\xef\xbb\xbfa text")
    (tmp_path / "texts/b.md").write_text("# b")
    (tmp_path / "texts/c.csv").write_text("1,2")
    (tmp_path / "p.png").write_bytes(picture(9))
    write_lines(tmp_path / "x.jsonl", [{"text": "x", "images": ["p.png"]}, {"text": "y", "images": {"path": "p.png"}}])
    found = list(read_documents(tmp_path, ImageStore()))
    assert [one.text for one, _ in found] == ["a text", "# b", "x", "y"]
    assert [one.source for one, _ in found] == ["a", "b", "x", "x"]
    assert found[0][0].metadata == {"file": "a.txt"}
    assert found[2][0].images == found[3][0].images
    for place, (_, position) in enumerate(found):
        assert read(tmp_path, position) == [one for one, _ in found[place + 1 :]]
    with pytest.raises(CorpusError, match=r"such as documents\.jsonl"):
        files_of(tmp_path / "p.png")
    with pytest.raises(CorpusError, match="there is no"):
        files_of(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("../secret.png", "no path inside the folder"),
        ("/etc/passwd", "no path inside the folder"),
        ("link.png", "leads out of"),
        ("https://a.b/c.png", "is a picture elsewhere"),
        ("data:image/png,xyz", "must begin with"),
        ("data:image/png;base64,xyz!", "no base64"),
        ("text.png", "not a picture"),
        ("missing.png", "No such file"),
        (3, "must be bytes, a path or a data URL, not int"),
        ({"sha256": "0" * 64, "width": 1, "height": 1}, "is not in"),
        ({"sha256": "../../x", "width": 1, "height": 1}, "no SHA-256"),
    ],
)
def test_pictures_that_are_not_read(tmp_path: Path, entry: object, said: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "text.png").write_text("no picture")
    with pytest.raises(CorpusError, match=rf"x\.jsonl, line 1: .*{said}"):
        read(write_lines(folder / "x.jsonl", [{"text": "a", "images": [entry]}]))


# ------------------------------------------------------------------------------------------------------------- whole corpora


def sentences(count: int, words: int = 12) -> list[str]:
    random = np.random.default_rng(3)
    vocabulary = [
        f"{first}{second}" for first in ("pa", "lo", "mi", "tu", "se") for second in ("ra", "no", "ki", "de", "fu", "mal")
    ]
    return [" ".join(random.choice(vocabulary, words)) + "." for _ in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files: 60 texts, of which some are broken, bad, or there already."""
    folder = tmp_path / "source"
    folder.mkdir()
    texts = sentences(50)
    write_lines(folder / "a.jsonl", [{"text": text, "url": f"https://a.b/{place}"} for place, text in enumerate(texts[:30])])
    (folder / "p.png").write_bytes(picture(5))
    records: list[dict[str, object]] = [{"text": text} for text in texts[30:]]
    records[3:3] = [{"text": texts[2].upper()}, {"text": "short"}, {"body": "x"}, {"text": "x1 " * 40}]
    records.append({"text": "short, with a picture", "images": ["p.png"]})
    write_lines(folder / "b.jsonl", records)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_kept_and_what_is_said_of_the_rest(source: Path, tmp_path: Path) -> None:
    counts = prepare([source], tmp_path / "out", filters=Filters(held_out=5), show=False)
    assert counts.read == 55
    assert counts.left_out == {"exact duplicate": 1, "shortest": 1, "broken": 1, "repeated_words": 1}
    assert counts.kept == 51
    assert counts.named["exact duplicate"] == ["b.jsonl, record 4: 1.00 like line 3"]
    assert counts.named["broken"] == [f"{source / 'b.jsonl'}, line 6: there is no 'text'; the record has body"]
    images = ImageStore()
    corpus = StoredCorpus(tmp_path / "out", images)
    held_out = corpus.held_out(100)
    assert len(corpus) + len(held_out) == 51
    assert len(held_out) == counts.held_out > 0
    epoch = [corpus.train(1, number) for number in range(len(corpus))]
    assert len({one.key for one in epoch}) == len(corpus)
    assert not {one.key for one in epoch} & {one.key for one in held_out}
    again = [corpus.train(1, len(corpus) + number) for number in range(len(corpus))]
    assert {one.key for one in again} == {one.key for one in epoch}
    assert [one.key for one in again] != [one.key for one in epoch]
    assert [one.key for one in epoch] != [corpus.train(2, number).key for number in range(len(corpus))]
    pictured = next(one for one in (*epoch, *held_out) if one.images)
    assert images.get(pictured.images[0]) == picture(5)
    assert {one.source for one in epoch} == {"a", "b"}


def test_a_corpus_that_was_prepared_can_be_prepared_again(source: Path, tmp_path: Path) -> None:
    prepare([source], tmp_path / "first", show=False)
    prepare([tmp_path / "first" / DOCUMENTS], tmp_path / "second", show=False)
    assert tree(tmp_path / "first")[DOCUMENTS] == tree(tmp_path / "second")[DOCUMENTS]
    assert StoredCorpus(tmp_path / "second", ImageStore()).document(0).metadata == {"url": "https://a.b/0"}


@pytest.mark.parametrize("remembered", [None, 7])
def test_a_killed_preparation_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int | None
) -> None:
    """Killed again and again, at every document in turn, it gives the same files as one that never was."""
    filters = Filters(duplicates=DuplicateSettings(remembered=remembered), held_out=5)
    prepare([source, source], tmp_path / "whole", filters=filters, show=False)
    monkeypatch.setattr("stepladder.corpora.prepare.SAVE_EVERY", 4)
    take, calls = _Preparation.take, 0

    class Killed(Exception):
        pass

    def take_and_die(self: _Preparation, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        take(self, *arguments)  # type: ignore[arg-type]
        if calls % 13 == 0:
            raise Killed

    monkeypatch.setattr(_Preparation, "take", take_and_die)
    kills = 0
    while not (tmp_path / "killed" / INDEX).exists():
        try:
            prepare([source, source], tmp_path / "killed", filters=filters, show=False)
        except Killed:
            kills += 1
    assert kills > 6
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_folders_that_are_no_whole_corpus(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="preparing it was not finished"):
        StoredCorpus(source, ImageStore())
    prepare([source], tmp_path / "out", filters=NOTHING_LEFT_OUT, show=False)
    shutil.copytree(tmp_path / "out", tmp_path / "torn")
    with (tmp_path / "torn" / DOCUMENTS).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(CorpusError, match="bytes are needed"):
        StoredCorpus(tmp_path / "torn", ImageStore())
    (tmp_path / "out" / INDEX).write_bytes(b"PK nothing")
    with pytest.raises(CorpusError, match="cannot be read"):
        StoredCorpus(tmp_path / "out", ImageStore())


def test_a_corpus_by_name(source: Path, tmp_path: Path) -> None:
    images = ImageStore()
    good = write_lines(tmp_path / "good.jsonl", [{"body": text} for text in sentences(40)])
    corpus = open_corpus(str(good), images, text="body", share=4)
    assert isinstance(corpus, LoadedCorpus)
    held_out = {one.key for one in corpus.held_out(100)}
    seen = [corpus.train(0, number).key for number in range(40 - len(held_out))]
    assert 0 < len(held_out) < 20
    assert len(set(seen)) == len(seen)
    assert not held_out & set(seen)
    with pytest.raises(ConfigError, match="did you mean 'text'"):
        open_corpus(str(good), images, txt="body")
    with pytest.raises(CorpusError, match="no documents for training"):
        open_corpus(str(good), images, text="body", share=1)
    prepare([source], tmp_path / "out", show=False)
    assert isinstance(open_corpus(str(tmp_path / "out"), images), StoredCorpus)
    with pytest.raises(ConfigError, match="there are none"):
        open_corpus(str(tmp_path / "out"), images, text="body")


# ------------------------------------------------------------------------------------------------------------------ the command


def test_the_command(source: Path, tmp_path: Path) -> None:
    arguments = [
        "corpus",
        str(source),
        "--output",
        str(tmp_path / "out"),
        "--set",
        "held_out=5",
        "--set",
        "duplicates.threshold=0.9",
    ]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "51 of 55 documents kept" in result.output
    assert "1 left out, broken" in result.output
    files = tree(tmp_path / "out")
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert files[DOCUMENTS] == tree(tmp_path / "out")[DOCUMENTS]
    with pytest.raises(ConfigError, match=r"duplicates\.threshold"):
        main(CorpusConfig(sources=(source,), output=tmp_path / "out", held_out=5), show=False)


def examples(kind: str) -> Iterator[dict[str, str]]:
    for text in sentences(40):
        yield {"text": text if kind == "good" else f"{text} BUY NOW !!! cheap {text.upper()} click here"}


def test_a_classifier_leaves_out_what_is_like_the_bad_examples(tmp_path: Path) -> None:
    for kind in ("good", "bad"):
        write_lines(tmp_path / f"{kind}.jsonl", list(examples(kind)))
    mixed = [{"text": one} for one in sentences(60, 15)[-20:]]
    mixed += [{"text": f"click here {one['text']} cheap BUY NOW"} for one in mixed[:10]]
    config = CorpusConfig(
        sources=(write_lines(tmp_path / "mixed.jsonl", mixed),),
        output=tmp_path / "out",
        good=tmp_path / "good.jsonl",
        bad=tmp_path / "bad.jsonl",
        deduplicate=False,
        held_out=0,
    )
    counts: Counts = main(config, show=False)
    assert counts.left_out == {"classifier": 10}
    assert all(0.5 <= one.score <= 1 for one in read(tmp_path / "out" / DOCUMENTS) if one.score is not None)
    told = json.loads((tmp_path / "out" / "classifier.json").read_text())
    assert (told["good"], told["bad"], told["n"], told["accuracy"]) == (40, 40, 16, 1.0)
    assert told["low"] < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": ()}, "name at least one"),
        ({"sources": (Path("nothing"),)}, "there is no nothing"),
        ({"good": Path(".")}, "examples of both"),
        ({"least_score": 2.0}, "least_score"),
        ({"held_out": -1}, "held_out"),
        ({"rules": QualityRules(symbols=2.0)}, "symbols"),
        ({"rules": QualityRules(shortest=9, longest=3)}, "no text can be both"),
        ({"duplicates": DuplicateSettings(bands=7)}, "bands must divide"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        main(replace(CorpusConfig(sources=(Path("."),)), **change), show=False)  # type: ignore[arg-type]
