"""Metrics of documents' looks: spacing, tab stops, fonts, colours, breaks, footers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

import odf.opendocument
import odf.text
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_TAB_ALIGNMENT

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.documents import both_documents, compare_docx_files, read_document
from stepladder.envs.osworld.metrics.reading import left
from stepladder.envs.osworld.metrics.similarity import color_difference

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_RED, _BLUE = (255, 0, 0), (0, 0, 255)
#: A field whose instruction is PAGE shows the number of the page, whatever it showed when it was saved.
_PAGE = re.compile(r"\bPAGE\b")


def compare_line_spacing(result: Got | None, expected: Got | None) -> float:
    """The same text, and the same spacing of lines in every paragraph."""
    pair = both_documents(result, expected)
    if pair is None or not compare_docx_files(result, expected):
        return 0.0
    first, second = ([one.paragraph_format.line_spacing for one in document.paragraphs] for document in pair)
    return float(first == second)


def check_tabstops(result: Got | None, expected: Got | None, **options: Any) -> float:
    """1 less the distance of the tab stops from where they should be, as a share of the width of the text, per paragraph.

    word_number_split_by_tabstop, index     every paragraph has so many words in this part between its tabs (0: the first)
    """
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    first, second = ([one for one in document.paragraphs if one.text.strip()] for document in pair)
    count, place = options.get("word_number_split_by_tabstop"), options.get("index", 0)
    if len(first) != len(second) or not second or (count is not None and any(_words(one, place) != count for one in first)):
        return 0.0
    section = pair[1].sections[0]
    width = section.page_width - section.left_margin - section.right_margin
    distance = 0.0
    for one, other in zip(first, second, strict=True):
        stops, wanted = _tab_stops(one), _tab_stops(other)
        if [stop.alignment for stop in stops] != [stop.alignment for stop in wanted]:
            return 0.0
        distance += sum(abs(stop.position - right.position) for stop, right in zip(stops, wanted, strict=True)) / width
    return max(0.0, 1 - distance / len(first))


def _words(paragraph: Any, place: int) -> int | None:
    parts = paragraph.text.split("\t")
    return len(parts[place].split()) if -len(parts) <= place < len(parts) else None


def _tab_stops(paragraph: Any) -> list[Any]:
    """Those that are set, without a left one at the very start."""
    stops = paragraph.paragraph_format.tab_stops
    return [
        one
        for one in stops
        if one.alignment != WD_TAB_ALIGNMENT.CLEAR and not (one.alignment == WD_TAB_ALIGNMENT.LEFT and one.position == 0)
    ]


def contains_page_break(result: Got | None, rules: Mapping[str, Any] | None = None) -> float:
    """Whether there is a page break, or as many as `page_break_count` says."""
    document = left(result, read_document)
    if document is None:
        return 0.0
    breaks = [one for run in _runs(document) for one in run.element.iter(f"{_WORD}br") if one.get(f"{_WORD}type") == "page"]
    wanted = (rules or {}).get("page_break_count")
    return float(bool(breaks) and (wanted is None or len(breaks) == wanted))


def compare_font_names(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Every run of text has this font."""
    document = left(result, read_document)
    return float(document is not None and all(run.font.name == rules["font_name"] for run in _runs(document)))


def has_page_numbers_in_footers(result: Got | None) -> float:
    """The footer of every section begins with a paragraph that has a number, or a field for it."""
    document = left(result, read_document)
    return float(document is not None and all(_numbered(section.footer) for section in document.sections))


def _numbered(footer: Any) -> bool:
    if not footer.paragraphs:
        return False
    paragraph = footer.paragraphs[0]
    fields = [one.text or "" for one in paragraph._p.iter(f"{_WORD}instrText")]
    fields += [one.get(f"{_WORD}instr", "") for one in paragraph._p.iter(f"{_WORD}fldSimple")]
    return any(sign.isdigit() for sign in paragraph.text) or any(_PAGE.search(one) for one in fields)


def is_first_line_centered(result: Got | None) -> float:
    document = left(result, read_document)
    if document is None or not document.paragraphs:
        return 0.0
    return float(document.paragraphs[0].paragraph_format.alignment == WD_ALIGN_PARAGRAPH.CENTER)


def check_italic_font_size_14(result: Got | None, expected: Got | None) -> float:
    """The same text, and all that is italic has 14 points."""
    document = left(result, read_document)
    if document is None or not compare_docx_files(result, expected):
        return 0.0
    italic = [run for one in document.paragraphs for run in one.runs if run.italic]
    return float(all(run.font.size is not None and run.font.size.pt == 14 for run in italic))


def evaluate_strike_through_last_paragraph(result: Got | None, expected: Got | None) -> float:
    """The same text, and the last paragraph is struck through."""
    document = left(result, read_document)
    if document is None or not document.paragraphs or not compare_docx_files(result, expected):
        return 0.0
    return float(all(run.font.strike for run in document.paragraphs[-1].runs))


def evaluate_colored_words_in_tables(result: Got | None, expected: Got | None, threshold: float = 3.5) -> float:
    """The same text, and in tables what begins with a vowel is red and the rest blue, within this CIEDE2000 difference."""
    document = left(result, read_document)
    if document is None or not compare_docx_files(result, expected):
        return 0.0
    for run in _runs_of_tables(document):
        if run.text:
            color = run.font.color.rgb if run.font.color is not None else None
            wanted = _RED if run.text[0].lower() in "aeiou" else _BLUE
            if color is None or color_difference(tuple(color), wanted) > threshold:
                return 0.0
    return 1.0


def check_highlighted_words(result: Got | None, expected: Got | None) -> float:
    """The same text, and nothing of it is highlighted in yellow. Both are .odt."""
    colors = left(result, _backgrounds)
    return float(colors is not None and bool(compare_docx_files(result, expected)) and "#ffff00" not in colors)


def compare_highlighted_text(result: Got | None, expected: Got | None) -> float:
    """The same runs are highlighted, in whatever colour."""
    pair = both_documents(result, expected)
    if pair is None:
        return 0.0
    first, second = ({run.text for run in _runs(one) if run.font.highlight_color is not None and run.text} for one in pair)
    return float(first == second)


def evaluate_conversion(result: Got | None) -> float:
    """No run of text is in capitals only."""
    document = left(result, read_document)
    return float(document is not None and not any(run.text.isupper() for run in (*_runs_of_tables(document), *_runs(document))))


def evaluate_spacing(result: Got | None) -> float:
    """The first paragraph has single lines, the second double ones, the third one and a half."""
    document = left(result, read_document)
    if document is None:
        return 0.0
    return float([one.paragraph_format.line_spacing for one in document.paragraphs[:3]] == [1.0, 2.0, 1.5])


def _backgrounds(file: io.BytesIO) -> list[str | None]:
    """The backgrounds of the spans of a document."""
    document = odf.opendocument.load(file)
    used = {span.getAttribute("stylename") for span in document.getElementsByType(odf.text.Span)}
    styles = [one for one in document.automaticstyles.childNodes if one.getAttribute("name") in used]
    return [_background(properties) for one in styles for properties in one.childNodes]


def _background(properties: Any) -> str | None:
    try:
        return properties.getAttribute("backgroundcolor")
    except (AttributeError, ValueError):  # properties of a kind that has no background
        return None


def _runs(document: Any) -> Iterator[Any]:
    for paragraph in document.paragraphs:
        yield from paragraph.runs


def _runs_of_tables(document: Any) -> Iterator[Any]:
    for table in document.tables:
        for row in table.rows:
            for cell in row.cells:
                for paragraph in cell.paragraphs:
                    yield from paragraph.runs
