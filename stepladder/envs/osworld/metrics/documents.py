"""Metrics of documents' content: the texts, tables, images and equations of Writer's and Word's files."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import docx
import odf.opendocument
import odf.text
from PIL import Image
from rapidfuzz import fuzz

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import both, left, reference

_CASES: dict[bool, Any] = {True: str.lower, False: str}


def compare_docx_files(result: Got | None, expected: Got | None, **options: Any) -> float:
    """The same paragraphs, of two .docx or two .odt files.

    ignore_blanks         the text as a whole, any blanks as one (default: true); false: paragraph by paragraph
    ignore_case, ignore_order, delete_empty_lines      as they say (default: false)
    fuzzy_match           how far they are alike, 0 to 1, instead of whether they are the same (default: false)
    content_only          how far the texts as a whole are alike, 0 to 1 (default: false)
    """
    pair = _paragraphs(result, expected)
    if pair is None:
        return 0.0
    if options.get("ignore_order", False):
        pair = (sorted(pair[0]), sorted(pair[1]))
    if options.get("delete_empty_lines", False):
        pair = ([one for one in pair[0] if one.strip()], [one for one in pair[1] if one.strip()])
    case = _CASES[bool(options.get("ignore_case", False))]
    first, second = ([case(one) for one in texts] for texts in pair)
    if options.get("content_only", False):
        return fuzz.ratio(one_line(first), one_line(second)) / 100
    fuzzy = bool(options.get("fuzzy_match", False))
    if options.get("ignore_blanks", True):
        first, second = [one_line(first)], [one_line(second)]
    if len(first) != len(second):
        return 0.0
    if not fuzzy:
        return float(first == second)
    return sum(fuzz.ratio(one, other) / 100 for one, other in zip(first, second, strict=True)) / len(first) if first else 1.0


def compare_docx_files_and_ignore_new_lines(result: Got | None, expected: Got | None, ignore_blanks: bool = True) -> float:
    """The same paragraphs but for empty ones; `ignore_blanks`: the text as a whole, any blanks as one."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    first, second = ([one.text for one in document.paragraphs if one.text] for document in pair)
    return float(one_line(first) == one_line(second) if ignore_blanks else first == second)


def compare_docx_lines(result: Got | None, expected: Got | None) -> float:
    """The same set of paragraphs, but for empty ones and blanks around them."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    first, second = ({one.text.strip() for one in document.paragraphs if one.text.strip()} for document in pair)
    return float(first == second)


def compare_init_lines(result: Got | None, expected: Got | None) -> float:
    """The same paragraphs as far as the shorter document goes."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    return float(all(one.text == other.text for one, other in zip(pair[0].paragraphs, pair[1].paragraphs, strict=False)))


def compare_docx_tables(result: Got | None, expected: Got | None) -> float:
    """The same tables, cell by cell, but for blanks around the texts."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    first, second = ([_cells(table) for table in document.tables] for document in pair)
    return float(first == second)


def compare_docx_images(result: Got | None, expected: Got | None) -> float:
    """The same images, pixel by pixel, in the order in which the file lists them."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    found = left(result, lambda _: _images(pair[0]))
    return float(found is not None and found == reference(expected, lambda _: _images(pair[1])))


def compare_contains_image(result: Got | None, expected: Got | None) -> float:
    """Images in the same runs of text, whatever they show."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    return float(all(_has(one, "graphicData") == _has(other, "graphicData") for one, other in both_runs(*pair)))


def compare_insert_equation(result: Got | None, expected: Got | None) -> float:
    """The same text, and in some run both have an embedded object, as which equations are saved."""
    pair = both_documents(result, expected)
    if pair is None or not compare_docx_files(result, expected):
        return 0.0
    return float(any(one.element.xpath(".//w:object") and other.element.xpath(".//w:object") for one, other in both_runs(*pair)))


def compare_subscript_contains(result: Got | None, expected: Got | None) -> float:
    """In some run both have a subscript."""
    pair = both_documents(result, expected)
    return float(pair is not None and any(one.font.subscript and other.font.subscript for one, other in both_runs(*pair)))


def compare_references(result: Got | None, expected: Got | None, **options: Any) -> float:
    """How far the entries below "References" are alike: 0 at `reference_base_result` (0.5) and just above it, 1 when they are the
    same. Two documents without such a heading (`reference_indicator`) are alike."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    heading, base = options.get("reference_indicator", "References"), options.get("reference_base_result", 0.5)
    first, second = (_below([one.text for one in document.paragraphs], heading) for document in pair)
    if first is None or second is None:
        return float(first is second)
    if len(first) != len(second):
        return 0.0
    share = sum(fuzz.ratio(one, other) / 100 for one, other in zip(first, second, strict=True)) / len(first) if first else 1.0
    return (share - base) / (1 - base) if share >= base + 0.01 else 0.0


def compare_unique_train_records(result: Got | None, expected: Sequence[Got], **_: Any) -> float:
    """Lines "time, train, station, platform" without a train that comes twice: the trains of the first of `expected`, as many
    lines, and each of them a line of the second, which is the document as it was."""
    if not isinstance(expected, Sequence) or len(expected) < 2:
        raise ValueError("compare_unique_train_records needs two files: the wanted one and the one from before")
    found = left(result, read_document)
    if found is None:
        return 0.0
    lines, wanted, before = (_lines(one) for one in (found, *(reference(one, read_document) for one in expected[:2])))
    trains = _trains(lines)
    return float(
        set(lines) <= set(before)
        and len(trains) == len(set(trains))
        and set(trains) == set(_trains(wanted))
        and len(lines) == len(wanted)
    )


def check_no_duplicates(expected: Got | None, result: Got | None) -> float:
    """Lines "time, train, station, platform": the second document has each train of the first once."""
    found = left(result, read_document)
    if found is None:
        return 0.0
    wanted, trains = set(_trains(_lines(reference(expected, read_document)))), _trains(_lines(found))
    return float(len(trains) == len(set(trains)) and set(trains) == wanted)


def fuzzy_place_math(result: Got | None, rules: Mapping[str, Any]) -> float:
    """How far the three words of a document are alike to any of the expected ones; 0 when there are not three."""
    document = left(result, read_document)
    words = [] if document is None else [word for one in document.paragraphs for word in one.text.split()]
    if len(words) != 3:
        return 0.0
    return sum(max((fuzz.ratio(word, one) / 100 for one in rules["expected"]), default=0.0) for word in words) / 3


# ------------------------------------------------------------------------------------------------------------------ reading


def both_documents(result: Got | None, expected: Got | None) -> tuple[Any, Any] | None:
    """What the agent left and what it is compared with, as python-docx reads them; None when the former is none."""
    return None if result is None or expected is None else both(result, expected, read_document)


def read_document(file: io.BytesIO) -> Any:
    """A document, as python-docx reads it. Raises whatever that does, also for what it would only notice when it gets there."""
    document = docx.Document(file)
    for table in document.tables:
        _cells(table)
    for section in document.sections:
        _ = section.page_width, section.left_margin, section.right_margin, section.footer.paragraphs
    cells = [cell for table in document.tables for row in table.rows for cell in row.cells]
    for paragraph in (*document.paragraphs, *(one for cell in cells for one in cell.paragraphs)):
        form = paragraph.paragraph_format
        _ = form.line_spacing, form.alignment, [(stop.alignment, stop.position) for stop in form.tab_stops]
        for run in paragraph.runs:
            font = run.font
            _ = font.name, font.size, font.italic, font.strike, font.subscript, font.highlight_color, font.color.rgb
    return document


def both_runs(first: Any, second: Any) -> list[tuple[Any, Any]]:
    """The runs of two documents side by side, as far as each paragraph of both has them."""
    return [
        runs
        for one, other in zip(first.paragraphs, second.paragraphs, strict=False)
        for runs in zip(one.runs, other.runs, strict=False)
    ]


def one_line(paragraphs: Sequence[str]) -> str:
    return re.sub(r"\s+", " ", "\n".join(paragraphs)).strip()


def _paragraphs(result: Got | None, expected: Got | None) -> tuple[list[str], list[str]] | None:
    if result is None or expected is None:
        return None
    for ending, reader in ((".docx", _of_docx), (".odt", _of_odt)):
        if result.name.endswith(ending) and expected.name.endswith(ending):
            return both(result, expected, reader)
    return None  # of two kinds, or of one that has no paragraphs


def _of_docx(file: io.BytesIO) -> list[str]:
    return [one.text for one in read_document(file).paragraphs]


def _of_odt(file: io.BytesIO) -> list[str]:
    """The text of each paragraph, and of spans within it."""
    found = []
    for paragraph in odf.opendocument.load(file).getElementsByType(odf.text.P):
        parts = []
        for node in paragraph.childNodes:
            if node.nodeType == node.TEXT_NODE:
                parts.append(node.data)
            elif node.nodeType == node.ELEMENT_NODE and node.tagName == "text:span":
                parts += [child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE]
        found.append("".join(parts))
    return found


def _cells(table: Any) -> list[list[str]]:
    return [[table.cell(row, column).text.strip() for column in range(len(table.columns))] for row in range(len(table.rows))]


def _images(document: Any) -> list[tuple[Any, bytes]]:
    parts = [one.target_part.blob for one in document.part.rels.values() if "image" in one.reltype and not one.is_external]
    images = [Image.open(io.BytesIO(one)) for one in parts]
    return [(one.size, one.tobytes()) for one in images]


def _has(run: Any, word: str) -> bool:
    return word in run.element.xml


def _below(lines: Sequence[str], heading: str) -> list[str] | None:
    if heading not in lines:
        return None
    return [one for one in lines[lines.index(heading) + 1 :] if one.strip()]


def _lines(document: Any) -> list[str]:
    return [one.text.strip() for one in document.paragraphs if one.text.strip()]


def _trains(lines: Sequence[str]) -> list[str]:
    return [line.split(",")[1].strip() for line in lines if line.count(",") == 3]
