"""OSWorld's metrics of documents and presentations, on files that are made here."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import office_files as office
import pytest
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_BREAK, WD_COLOR_INDEX, WD_TAB_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Inches as DocumentInches
from docx.shared import Pt, RGBColor
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx.dml.color import RGBColor as SlideColor
from pptx.enum.dml import MSO_THEME_COLOR
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import PP_ALIGN
from pptx.util import Emu, Inches
from pptx.util import Pt as Points

from stepladder.envs.osworld.getters import Got
from stepladder.envs.osworld.metrics import metric

BROKEN = Got("a.docx", b"no document")
Change = Callable[[Any], Any]


def both(
    name: str, change: Change, other: Change | None = None, texts: Sequence[str] = ("One two", "Three"), **options: Any
) -> list[float]:
    """The score of a document that is as wanted, and of one that is not (by default: as if nothing was done)."""
    wanted = office.docx_file(texts, change)
    return [metric(name)(found, wanted, **options) for found in (wanted, office.docx_file(texts, other))]


def alone(name: str, right: Change, wrong: Change | None, *rules: Any, texts: Sequence[str] = ("One two", "Three")) -> list[float]:
    """The score of a document for which something holds, of one for which it does not, of none and of no document."""
    made = (office.docx_file(texts, right), office.docx_file(texts, wrong), None, BROKEN)
    return [metric(name)(found, *rules) for found in made]


# ---------------------------------------------------------------------------------------------------------------- documents


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (("One two", "Three"), {}, 1),
        (("One  two Three",), {}, 1),
        (("One  two", "Three"), {"ignore_blanks": False}, 0),
        (("one two", "Three"), {}, 0),
        (("one two", "Three"), {"ignore_case": True}, 1),
        (("Three", "One two"), {}, 0),
        (("Three", "One two"), {"ignore_order": True}, 1),
        (("One two", "", "Three"), {"ignore_blanks": False}, 0),
        (("One two", "", "Three"), {"ignore_blanks": False, "delete_empty_lines": True}, 1),
        (("One two", "Thre"), {"fuzzy_match": True}, 0.96),
        (("One two", "Thre"), {"fuzzy_match": True, "ignore_blanks": False}, 0.944),
        (("One two", "Thre"), {"content_only": True}, 0.96),
        (("One two",), {"fuzzy_match": True, "ignore_blanks": False}, 0),
    ],
)
def test_texts_of_documents(texts: Sequence[str], options: dict[str, Any], expected: float) -> None:
    score = metric("compare_docx_files")(office.docx_file(texts), office.docx_file(), **options)
    assert score == pytest.approx(expected, abs=0.001)


words = st.text(st.characters(categories=["L", "N", "Zs"]), max_size=12)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(words, max_size=4),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("ignore_blanks", "fuzzy_match", "content_only", "ignore_order"), st.booleans())
    ),
)
def test_a_document_is_the_same_as_itself(texts: list[str], options: dict[str, bool]) -> None:
    found = office.docx_file(texts)
    assert metric("compare_docx_files")(found, found, **options) == 1
    for name in (
        "compare_docx_tables",
        "compare_docx_images",
        "compare_contains_image",
        "compare_docx_lines",
        "compare_line_spacing",
    ):
        assert metric(name)(found, found) == 1


def test_documents_of_writer_are_read_too_and_kinds_are_not_mixed() -> None:
    compare = metric("compare_docx_files")
    assert compare(office.odt(("One two", "Three")), office.odt(("One two", "Three"))) == 1
    assert compare(office.odt(("One two", "Thre")), office.odt(("One two", "Three"))) == 0
    assert compare(office.odt(("One two", "Three")), office.docx_file()) == 0
    assert compare(None, office.docx_file()) == compare(BROKEN, office.docx_file()) == 0
    with pytest.raises(ValueError, match="to compare with cannot be read"):
        compare(office.docx_file(), BROKEN)


@pytest.mark.parametrize(
    ("name", "found", "wanted", "expected"),
    [
        ("compare_docx_files_and_ignore_new_lines", ("One two", "", "Three"), ("One two", "Three"), 1),
        ("compare_docx_files_and_ignore_new_lines", ("One", "Three"), ("One two", "Three"), 0),
        ("compare_docx_lines", ("Three", " One two"), ("One two", "Three", ""), 1),
        ("compare_docx_lines", ("Three",), ("One two", "Three"), 0),
        ("compare_init_lines", ("One two",), ("One two", "Three"), 1),
        ("compare_init_lines", ("Three",), ("One two", "Three"), 0),
        ("compare_references", ("x", "References", "Ada 1843"), ("y", "References", "Ada 1843"), 1),
        ("compare_references", ("References", "Ada 1844"), ("References", "Ada 1843"), 0.75),
        ("compare_references", ("References", "xyz"), ("References", "Ada 1843"), 0),
        ("compare_references", ("References", "a", "b"), ("References", "Ada 1843"), 0),
        ("compare_references", ("Ada",), ("References", "Ada 1843"), 0),
        ("compare_references", ("Ada",), ("Bob",), 1),
        ("check_no_duplicates", ("1,A,x,2", "2,B,x,2", "3,A,x,2"), ("2,B,x,2", "3,A,x,2"), 1),
        ("check_no_duplicates", ("1,A,x,2", "2,B,x,2"), ("1,A,x,2", "2,A,x,2"), 0),
        ("check_no_duplicates", ("1,A,x,2", "2,B,x,2"), ("1,A,x,2",), 0),
    ],
)
def test_lines(name: str, found: Sequence[str], wanted: Sequence[str], expected: float) -> None:
    assert metric(name)(office.docx_file(found), office.docx_file(wanted)) == pytest.approx(expected)


def test_records_of_trains() -> None:
    before, wanted = office.docx_file(("1,A,x,2", "2,B,x,2", "3,A,y,2")), office.docx_file(("1,A,x,2", "2,B,x,2"))
    compare = metric("compare_unique_train_records")
    assert compare(office.docx_file(("3,A,y,2", "2,B,x,2")), [wanted, before]) == 1
    assert compare(office.docx_file(("9,A,y,2", "2,B,x,2")), [wanted, before]) == 0
    assert compare(office.docx_file(("1,A,x,2", "2,B,x,2", "3,A,y,2")), [wanted, before]) == 0
    assert compare(office.docx_file(("2,B,x,2",)), [wanted, before]) == compare(BROKEN, [wanted, before]) == 0
    with pytest.raises(ValueError, match="needs two files"):
        compare(before, [wanted])


def test_places_in_a_document() -> None:
    rules = {"expected": ["Rome", "Oslo"]}
    assert metric("fuzzy_place_math")(office.docx_file(("Rome Oslo", "Rome")), rules) == 1
    assert metric("fuzzy_place_math")(office.docx_file(("Rome Oslo", "Rxxe")), rules) == pytest.approx((2 + 0.5) / 3)
    assert metric("fuzzy_place_math")(office.docx_file(("Rome Oslo",)), rules) == metric("fuzzy_place_math")(None, rules) == 0


def with_table(text: str = "a", rows: int = 1) -> Change:
    def change(document: Any) -> None:
        document.add_table(rows, 2).cell(0, 0).text = text

    return change


def picture(color: tuple[int, int, int] = (255, 0, 0)) -> Change:
    png = office.image(office.Image.new("RGB", (8, 8), color)).content
    return lambda document: document.paragraphs[0].add_run().add_picture(io.BytesIO(png))


def embedded(document: Any) -> None:
    document.paragraphs[0].runs[0]._r.append(OxmlElement("w:object"))


def subscript(document: Any) -> None:
    document.paragraphs[0].runs[0].font.subscript = True


@pytest.mark.parametrize(
    ("name", "change", "other"),
    [
        ("compare_docx_tables", with_table(), with_table("b")),
        ("compare_docx_tables", with_table(), with_table(rows=2)),
        ("compare_docx_tables", with_table(), None),
        ("compare_docx_images", picture(), picture((0, 255, 0))),
        ("compare_docx_images", picture(), None),
        ("compare_contains_image", lambda document: picture()(document), lambda document: document.paragraphs[0].add_run("")),
        ("compare_insert_equation", embedded, None),
        ("compare_subscript_contains", subscript, None),
        ("compare_line_spacing", lambda document: setattr(document.paragraphs[1].paragraph_format, "line_spacing", 2.0), None),
        (
            "compare_highlighted_text",
            lambda document: setattr(document.paragraphs[0].runs[0].font, "highlight_color", WD_COLOR_INDEX.RED),
            None,
        ),
        ("check_italic_font_size_14", lambda document: slanted(document, 14), lambda document: slanted(document, 12)),
        ("evaluate_strike_through_last_paragraph", lambda document: struck(document, 1), lambda document: struck(document, 0)),
        ("evaluate_colored_words_in_tables", lambda document: colored(document), lambda document: colored(document, BLUE)),
        ("evaluate_colored_words_in_tables", lambda document: colored(document), lambda document: colored(document, None)),
    ],
)
def test_what_two_documents_share(name: str, change: Change, other: Change | None) -> None:
    assert both(name, change, other) == [1, 0]
    assert metric(name)(None, office.docx_file()) == metric(name)(BROKEN, office.docx_file()) == 0


RED, BLUE = RGBColor(255, 0, 0), RGBColor(0, 0, 255)


def slanted(document: Any, size: int) -> None:
    font = document.paragraphs[0].runs[0].font
    font.italic, font.size = True, Pt(size)


def struck(document: Any, paragraph: int) -> None:
    document.paragraphs[paragraph].runs[0].font.strike = True


def colored(document: Any, vowels: RGBColor | None = RED) -> None:
    paragraph = document.add_table(1, 1).cell(0, 0).paragraphs[0]
    for text, color in (("apple", vowels), ("pear", BLUE)):
        run = paragraph.add_run(text)
        if color is not None:
            run.font.color.rgb = color


def test_a_change_of_the_text_is_no_success_of_its_looks() -> None:
    for name in ("compare_line_spacing", "check_italic_font_size_14", "evaluate_strike_through_last_paragraph"):
        assert metric(name)(office.docx_file(("Other",), lambda document: struck(document, 0)), office.docx_file()) == 0


def page_break(document: Any, times: int = 1) -> None:
    for _ in range(times):
        document.paragraphs[0].add_run().add_break(WD_BREAK.PAGE)


def footer(text: str = "", field: str = "") -> Change:
    def change(document: Any) -> None:
        paragraph = document.sections[0].footer.paragraphs[0]
        paragraph.text = text
        if field:
            instruction = OxmlElement("w:fldSimple")
            instruction.set(qn("w:instr"), field)
            paragraph._p.append(instruction)

    return change


def spaced(*lines: float) -> Change:
    def change(document: Any) -> None:
        for paragraph, line in zip(document.paragraphs, lines, strict=False):
            paragraph.paragraph_format.line_spacing = line

    return change


def in_font(document: Any) -> None:
    for paragraph in document.paragraphs:
        paragraph.runs[0].font.name = "Times New Roman"


@pytest.mark.parametrize(
    ("name", "right", "wrong", "rules"),
    [
        ("contains_page_break", page_break, None, [{}]),
        ("contains_page_break", page_break, lambda document: page_break(document, 2), [{"page_break_count": 1}]),
        ("compare_font_names", in_font, None, [{"font_name": "Times New Roman"}]),
        ("has_page_numbers_in_footers", footer("1"), footer("page"), []),
        ("has_page_numbers_in_footers", footer(field=" PAGE "), footer(field=" DATE "), []),
        (
            "is_first_line_centered",
            lambda document: setattr(document.paragraphs[0], "alignment", WD_ALIGN_PARAGRAPH.CENTER),
            None,
            [],
        ),
        ("evaluate_conversion", None, lambda document: document.add_paragraph("LOUD"), []),
        ("evaluate_conversion", None, with_table("LOUD"), []),
    ],
)
def test_what_holds_of_one_document(name: str, right: Any, wrong: Any, rules: list[Any]) -> None:
    assert alone(name, right, wrong, *rules) == [1, 0, 0, 0]


def test_spacing_of_three_parts() -> None:
    assert alone("evaluate_spacing", spaced(1.0, 2.0, 1.5), spaced(1.0, 2.0, 2.0), texts=("a", "b", "c")) == [1, 0, 0, 0]
    assert metric("evaluate_spacing")(office.docx_file(("a",), spaced(1.0))) == 0


def test_highlighting_in_yellow() -> None:
    check, gold = metric("check_highlighted_words"), office.odt(("One", "two"))
    assert check(office.odt(("One", "two")), gold) == check(office.odt(("One", "two"), "#00ff00"), gold) == 1
    assert check(office.odt(("One", "two"), "#ffff00"), gold) == 0
    assert check(office.odt(("One", "three")), gold) == check(None, gold) == check(BROKEN, gold) == 0


def stops(*places: float, alignment: Any = WD_TAB_ALIGNMENT.RIGHT) -> Change:
    def change(document: Any) -> None:
        for paragraph in document.paragraphs:
            for place in places:
                paragraph.paragraph_format.tab_stops.add_tab_stop(DocumentInches(place), alignment)

    return change


def test_tab_stops_count_by_how_near_they_are() -> None:
    texts, check = ("One two three\tfour", "One two three\tfive"), metric("check_tabstops")
    gold = office.docx_file(texts, stops(6))
    scores = [check(office.docx_file(texts, stops(place)), gold) for place in (6, 5.4, 3)]
    assert scores == pytest.approx([1, 0.9, 0.5])  # the text is six inches wide
    assert check(office.docx_file(texts, stops(6, alignment=WD_TAB_ALIGNMENT.CENTER)), gold) == 0
    assert check(office.docx_file(texts), gold) == check(office.docx_file(texts[:1], stops(6)), gold) == 0
    assert check(office.docx_file(texts, stops(0, alignment=WD_TAB_ALIGNMENT.LEFT)), office.docx_file(texts)) == 1
    assert check(gold, gold, word_number_split_by_tabstop=3, index=0) == 1
    assert (
        check(gold, gold, word_number_split_by_tabstop=2, index=0)
        == check(gold, gold, word_number_split_by_tabstop=3, index=4)
        == 0
    )
    assert check(None, gold) == check(BROKEN, gold) == 0


# ------------------------------------------------------------------------------------------------------------ presentations

compare = metric("compare_pptx_files")


def shows(change: Change, option: str = "", wanted: Change | None = None) -> list[float]:
    """The score of a presentation with a change, and of the same one when what is changed is not examined."""
    found, gold = office.pptx_file(change), office.pptx_file(wanted)
    return [compare(found, gold), compare(found, gold, **{f"examine_{option}": False})]


def of_font(name: str, value: Any) -> Change:
    return lambda show: setattr(office.run(show).font, name, value)


def of_color(name: str, value: Any) -> Change:
    return lambda show: setattr(office.run(show).font.color, name, value)


def of_paragraph(name: str, value: Any) -> Change:
    return lambda show: setattr(office.box(show).text_frame.paragraphs[0], name, value)


def plain_background(show: Any) -> None:
    fill = show.slides[0].background.fill
    fill.solid()
    fill.fore_color.rgb = SlideColor(0, 0, 255)


def bullet(show: Any) -> None:
    properties = office.box(show).text_frame.paragraphs[0]._p.get_or_add_pPr()
    sign = properties.makeelement("{http://schemas.openxmlformats.org/drawingml/2006/main}buChar", {"char": "•"})
    properties.append(sign)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        (lambda show: setattr(office.box(show), "left", Inches(2)), "shape"),
        (lambda show: setattr(office.run(show), "text", "Other"), "text"),
        (of_paragraph("level", 3), "indent"),
        (of_paragraph("alignment", PP_ALIGN.RIGHT), "alignment"),
        (of_font("name", "Arial"), "font_name"),
        (of_font("size", Points(40)), "font_size"),
        (of_font("bold", True), "font_bold"),
        (of_font("italic", True), "font_italic"),
        (of_font("underline", True), "font_underline"),
        (lambda show: office.run(show).font._element.set("strike", "sngStrike"), "strike_through"),
        (lambda show: office.box(show).text_frame.paragraphs[0].add_run(), "run_count"),
        (plain_background, "background_color"),
        (lambda show: setattr(show.slides[0].notes_slide.notes_text_frame, "text", "Note"), "note"),
        (bullet, "bullets"),
        (lambda show: show.slides.add_slide(show.slide_layouts[6]), "number_of_slides"),
    ],
)
def test_what_is_examined_of_presentations(change: Change, option: str) -> None:
    expected = [0, 0 if option == "text" else 1]  # a bullet's text is compared with its sign
    assert shows(change, option) == expected
    if option == "text":
        found = office.pptx_file(change)
        assert compare(found, office.pptx_file(), examine_text=False, examine_bullets=False) == 1


def test_colours_are_compared_where_both_have_their_own() -> None:
    red, blue = of_color("rgb", SlideColor(255, 0, 0)), of_color("rgb", SlideColor(0, 0, 255))
    assert shows(red, "color_rgb", blue) == [0, 1]
    assert shows(red, "color_rgb", red) == shows(red, "color_rgb") == [1, 1]
    assert compare(office.pptx_file(of_color("theme_color", MSO_THEME_COLOR.ACCENT_1)), office.pptx_file(red)) == 1


@pytest.mark.parametrize(
    "change",
    [
        of_font("bold", False),
        of_font("italic", False),
        of_font("underline", False),
        of_paragraph("alignment", PP_ALIGN.LEFT),
        of_paragraph("level", 1),
        lambda show: setattr(office.box(show), "left", Emu(Inches(1) + 2000)),
        lambda show: show.slides[0].notes_slide,
    ],
)
def test_what_looks_the_same_is_the_same(change: Change) -> None:
    assert compare(office.pptx_file(change), office.pptx_file()) == 1
    assert compare(office.pptx_file(), office.pptx_file(change)) == 1


def test_how_near_is_near_is_an_option() -> None:
    moved = office.pptx_file(lambda show: setattr(office.box(show), "left", Emu(Inches(1) + 2000)))
    assert compare(moved, office.pptx_file(), approximately_tolerance=0.001) == 0


def test_other_numbers_of_shapes_are_never_the_same() -> None:
    more = office.pptx_file(lambda show: show.slides[0].shapes.add_shape(MSO_SHAPE.OVAL, 0, 0, 9, 9))
    assert compare(more, office.pptx_file(), examine_shape=False) == 0
    assert compare(None, more) == compare(BROKEN, more) == 0
    assert compare(more, more) == compare(more, more, examine_shape_lenient_height=True) == 1
    with pytest.raises(ValueError, match="no option examine_taste"):
        compare(more, more, examine_taste=True)


def test_texts_in_groups_are_compared() -> None:
    def grouped(alignment: Any) -> Change:
        def change(show: Any) -> None:
            inside = show.slides[0].shapes.add_group_shape().shapes.add_textbox(0, 0, Inches(1), Inches(1))
            inside.text_frame.text = "In a group"
            inside.text_frame.paragraphs[0].alignment = alignment

        return change

    assert shows(grouped(PP_ALIGN.RIGHT), "alignment", grouped(PP_ALIGN.CENTER)) == [0, 1]


def with_slide_table(bold: bool | None = None, rows: int = 2, top: int = 100, slide: int = 0) -> Change:
    def change(show: Any) -> None:
        table = show.slides[slide].shapes.add_table(rows, 2, 0, top, Inches(3), Inches(1)).table
        table.cell(0, 0).text = "a"
        table.cell(0, 0).text_frame.paragraphs[0].runs[0].font.bold = bold

    return change


def test_tables_of_slides_are_compared_by_their_looks() -> None:
    assert compare(office.pptx_file(with_slide_table(True)), office.pptx_file(with_slide_table(True))) == 1
    assert compare(office.pptx_file(with_slide_table(False)), office.pptx_file(with_slide_table(None))) == 1
    assert compare(office.pptx_file(with_slide_table(True)), office.pptx_file(with_slide_table())) == 0
    assert compare(office.pptx_file(with_slide_table(rows=3)), office.pptx_file(with_slide_table())) == 0


LOW = Emu(4_000_000)


def titled(top: int) -> Change:
    def change(show: Any) -> None:
        box = office.box(show)
        box.text_frame.text, box.top = "Product Comparison", top

    return change


def pictured(left: int = 100, top: int = 100, width: int = 1_000_000, height: int = 1_000_000) -> Change:
    png = io.BytesIO(office.image(office.scene()).content)
    return lambda show: show.slides[1].shapes.add_picture(png, left, top, width, height)


@pytest.mark.parametrize(
    ("option", "right", "wrong", "before"),
    [
        ("title_bottom_position", titled(LOW), titled(Emu(1_000_000)), titled(Emu(100))),
        (
            "table_bottom_position",
            with_slide_table(top=LOW, slide=2),
            with_slide_table(top=200, slide=2),
            with_slide_table(slide=2),
        ),
        ("right_position", pictured(left=5_000_000), pictured(left=2_000_000), pictured()),
        ("top_position", pictured(top=500), pictured(top=2_500_000), pictured(top=3_000_000)),
        ("image_size", pictured(left=9, width=2_000_000), pictured(width=3_000_000), pictured(width=2_000_000)),
        ("modify_height", pictured(left=9, height=2_000_000), pictured(height=3_000_000), pictured(height=2_000_000)),
        ("shape_for_shift_size", lambda show: None, lambda show: setattr(office.box(show), "left", 0), lambda show: None),
    ],
)
def test_places_that_tasks_ask_for(option: str, right: Change, wrong: Change, before: Change) -> None:
    options = {"examine_shape": False, f"examine_{option}": True}
    found = [compare(office.pptx_file(change), office.pptx_file(before), **options) for change in (right, wrong)]
    assert found == [1, 0]
    assert compare(office.pptx_file(wrong), office.pptx_file(before), examine_shape=False) == 1


def test_size_and_orientation_of_slides() -> None:
    def upright(show: Any) -> None:
        show.slide_width, show.slide_height = show.slide_height, show.slide_width

    check = metric("check_slide_orientation_Portrait")
    assert [check(one) for one in (office.pptx_file(upright), office.pptx_file(), None, BROKEN)] == [1, 0, 0, 0]


def test_an_image_that_fills_the_slide() -> None:
    check = metric("check_image_stretch_and_center")

    def placed(left: int, top: int, width: int, height: int, strength: float = 1.0) -> Got:
        png = io.BytesIO(office.image(office.scene(strength=strength)).content)
        return office.pptx_file(lambda show: show.slides[0].shapes.add_picture(png, left, top, width, height))

    before, full = placed(9, 9, 99, 99), (9_144_000, 6_858_000)
    assert check(placed(0, 0, *full), before) == check(placed(0, 0, full[0] - 99_999, full[1]), before) == 1
    assert check(before, before) == check(placed(0, 0, *full, strength=0.5), before) == 0
    assert check(placed(1_000_000, 0, *full), before) == check(None, before) == 0
    with pytest.raises(ValueError, match="has no image"):
        check(before, office.pptx_file())


def test_strikethrough_of_named_paragraphs() -> None:
    rules = {"slide_index_s": [0], "shape_index_s": [0], "paragraph_index_s": [0]}
    check = metric("check_strikethrough")
    struck_out = office.pptx_file(lambda show: office.run(show).font._element.set("strike", "sngStrike"))
    assert [check(one, rules) for one in (struck_out, office.pptx_file(), BROKEN)] == [1, 0, 0]
    assert check(struck_out, {**rules, "shape_index_s": [4]}) == 0


def filled(*colors: tuple[int, int, int] | None) -> Got:
    def change(show: Any) -> None:
        for slide, color in zip(show.slides, colors, strict=True):
            if color is not None:
                slide.background.fill.solid()
                slide.background.fill.fore_color.rgb = SlideColor(*color)

    return office.pptx_file(change, len(colors))


def test_backgrounds_count_by_how_near_they_are() -> None:
    distance = metric("evaluate_presentation_fill_to_rgb_distance")
    blue = {"rgb": [0, 0, 255]}
    assert distance(filled((0, 0, 255), (0, 0, 255)), blue) == 1
    assert distance(filled((0, 0, 255), (255, 255, 0)), blue) == pytest.approx(0.5)
    assert distance(filled((0, 0, 255), None), blue) == pytest.approx(0.5)
    assert distance(filled((0, 0, 200)), {**blue, "original_rgb": [0, 0, 200]}) == 0
    assert distance(filled((0, 0, 200)), blue) == pytest.approx(1 - 55 / (255 * 3**0.5))
    assert distance(None, blue) == distance(BROKEN, blue) == 0


def test_transitions() -> None:
    def change(xml: str) -> str:
        return xml.replace("</p:sld>", "<p:transition><p:dissolve/></p:transition></p:sld>")

    check, rules = metric("check_transition"), {"slide_idx": 0, "transition_type": "dissolve"}
    show = office.with_part(office.pptx_file(), "ppt/slides/slide1.xml", change)
    assert [check(one, rules) for one in (show, office.pptx_file(), None, BROKEN)] == [1, 0, 0, 0]
    assert check(show, {**rules, "transition_type": "fade"}) == check(show, {**rules, "slide_idx": 9}) == 0


@pytest.mark.parametrize(("color", "value"), [("red", "E02010"), ("green", "10E020"), ("blue", "1020E0"), ("black", "101010")])
def test_colours_of_page_numbers(color: str, value: str) -> None:
    def change(show: Any) -> None:
        place = next(one for one in show.slide_master.placeholders if one.placeholder_format.type == 13)
        place.text_frame.paragraphs[0].add_run().text = "1"
        place.text_frame.paragraphs[0].runs[0].font.color.rgb = SlideColor.from_string(value)

    check, show = metric("check_page_number_colors"), office.pptx_file(change)
    assert {one: check(show, {"color": one}) for one in ("red", "green", "blue", "black")} == {
        one: float(one == color) for one in ("red", "green", "blue", "black")
    }
    assert check(office.pptx_file(), {"color": color}) == check(BROKEN, {"color": color}) == 0
    with pytest.raises(ValueError, match="the colour 'pink' is not known"):
        check(show, {"color": "pink"})


def test_slide_numbers_in_red() -> None:
    def change(show: Any, color: SlideColor) -> None:
        place = next(one for one in show.slide_master.placeholders if one.placeholder_format.type == 13)
        place.text_frame.text = "<number>"
        place.text_frame.paragraphs[0].font.color.rgb = color
        office.box(show).text_frame.text = "1"

    check = metric("check_slide_numbers_color")
    assert check(office.pptx_file(lambda show: change(show, SlideColor(255, 0, 0)))) == 1
    assert check(office.pptx_file(lambda show: change(show, SlideColor(0, 0, 255)))) == check(office.pptx_file()) == 0


# -------------------------------------------------------------------------------------------------------------- broken files


def broken(of: Got) -> list[Got]:
    """A file that is an archive, each time with one of its parts lost, or another thing."""
    with zipfile.ZipFile(io.BytesIO(of.content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    lost = [{other: parts[other] for other in parts if other != name} for name in parts]
    changed = [{**parts, name: b"<a/>"} for name in parts]
    return [Got(of.name, office.zip_file(one).content) for one in (*lost, *changed)]


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (("compare_pptx_files", "check_image_stretch_and_center"), office.pptx_file(pictured(), 2)),
        (
            ("compare_docx_files", "compare_docx_images", "check_tabstops", "compare_line_spacing"),
            office.docx_file(change=picture()),
        ),
        (("check_highlighted_words",), office.odt(("One", "two"))),
    ],
)
def test_a_broken_file_that_the_agent_left_scores(names: Sequence[str], file: Got) -> None:
    gold = office.pptx_file(lambda show: first_picture(show), 2) if file.name.endswith(".pptx") else file
    for found in broken(file):
        for name in names:
            assert 0 <= metric(name)(found, gold) <= 1


def first_picture(show: Any) -> None:
    show.slides[0].shapes.add_picture(io.BytesIO(office.image(office.scene()).content), 0, 0)


def test_an_image_that_is_only_linked_is_no_match_and_no_error() -> None:
    def change(xml: str) -> str:
        return re.sub(r'Target="\.\./media/[^"]*"', 'Target="file:///none.png" TargetMode="External"', xml)

    gold = office.pptx_file(first_picture)
    found = office.with_part(gold, "ppt/slides/_rels/slide1.xml.rels", change)
    assert metric("check_image_stretch_and_center")(found, gold) == 0
    assert metric("compare_pptx_files")(found, gold) == 1
