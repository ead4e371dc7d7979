"""Files of office programs, images and PDF for tests: made in memory, as small as what they show."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import docx
import openpyxl
import pptx
from odf.opendocument import OpenDocumentText
from odf.style import Style, TextProperties
from odf.text import P, Span
from openpyxl.pivot.cache import CacheDefinition, CacheField, CacheSource, SharedItems, WorksheetSource
from openpyxl.pivot.fields import Text
from openpyxl.pivot.record import RecordList
from openpyxl.pivot.table import DataField, FieldItem, Location, PivotField, RowColField, TableDefinition
from PIL import Image
from pptx.util import Inches

from stepladder.envs.osworld.getters import Got

Change = Callable[[Any], Any]
ROWS = (("City", "Sales"), ("Rome", 1.5), ("Oslo", 2))


def xlsx(rows: Sequence[Sequence[Any]] = ROWS, change: Change | None = None, name: str = "a.xlsx") -> Got:
    """A book with one sheet, Sheet1; `change` gets the book."""
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    for row in rows:
        book.active.append(list(row))
    return _saved(book, change, name)


def docx_file(texts: Sequence[str] = ("One two", "Three"), change: Change | None = None, name: str = "a.docx") -> Got:
    """A document with these paragraphs; `change` gets it."""
    document = docx.Document()
    for text in texts:
        document.add_paragraph(text)
    return _saved(document, change, name)


def odt(texts: Sequence[str], background: str | None = None) -> Got:
    """A document of Writer's; its last paragraph is a span, maybe with a background."""
    document = OpenDocumentText()
    style = Style(name="T1", family="text")
    style.addElement(TextProperties(backgroundcolor=background) if background else TextProperties(fontweight="bold"))
    document.automaticstyles.addElement(style)
    for place, text in enumerate(texts):
        if place + 1 == len(texts):
            paragraph = P()
            paragraph.addElement(Span(stylename=style, text=text))
        else:
            paragraph = P(text=text)
        document.text.addElement(paragraph)
    file = io.BytesIO()
    document.write(file)
    return Got("a.odt", file.getvalue())


def pptx_file(change: Change | None = None, slides: int = 3) -> Got:
    """A presentation whose slides have a text box of two runs; `change` gets it."""
    show = pptx.Presentation()
    for number in range(slides):
        slide = show.slides.add_slide(show.slide_layouts[6])
        frame = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(4), Inches(1)).text_frame
        frame.text = f"Slide {number + 1}"
        frame.paragraphs[0].add_run().text = " and more"
    return _saved(show, change, "a.pptx")


def box(show: Any, slide: int = 0) -> Any:
    """The text box of a slide of `pptx_file`."""
    return show.slides[slide].shapes[0]


def run(show: Any) -> Any:
    """The first run of the first slide of `pptx_file`."""
    return box(show).text_frame.paragraphs[0].runs[0]


def image(picture: Image.Image, kind: str = "PNG", name: str = "a.png") -> Got:
    file = io.BytesIO()
    picture.save(file, kind)
    return Got(name, file.getvalue())


def scene(width: int = 64, height: int = 48, strength: float = 1.0) -> Image.Image:
    """A picture that has structure, hues and no symmetry."""
    picture = Image.new("RGB", (width, height))
    for x in range(width):
        for y in range(height):
            color = (60 + 2 * x, 40 + 3 * y, 90 if (x // 8 + y // 8) % 2 else 150)
            picture.putpixel((x, y), tuple(min(255, int(one * strength)) for one in color))  # type: ignore[arg-type]
    return picture


def pdf(*pages: str) -> Got:
    """A PDF with a line of text on each page."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        content = len(objects)
        font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {content} 0 R >>")
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    file, places = bytearray(b"%PDF-1.4\n"), []
    for number, text in enumerate(objects, 1):
        places.append(len(file))
        file += f"{number} 0 obj\n{text}\nendobj\n".encode()
    start = len(file)
    file += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    file += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    file += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return Got("a.pdf", bytes(file))


def zip_file(files: Mapping[str, bytes | str], name: str = "a.zip") -> Got:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return Got(name, file.getvalue())


def with_part(of: Got, path: str, change: Callable[[str], str]) -> Got:
    """A file that is a zip archive, with one of its files changed as text."""
    with zipfile.ZipFile(io.BytesIO(of.content)) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    files[path] = change(files[path].decode()).encode()
    return Got(of.name, zip_file(files).content)


def pivot(hidden: bool = False, subtotal: str = "sum", row: int = 0) -> Got:
    """A book whose Sheet2 has a pivot table of Sheet1."""

    def change(book: Any) -> None:
        fields = [CacheField(name="City", sharedItems=SharedItems(_fields=[Text(v="Rome"), Text(v="Oslo")]))]
        fields.append(CacheField(name="Sales", sharedItems=SharedItems()))
        source = CacheSource(type="worksheet", worksheetSource=WorksheetSource(ref="A1:B3", sheet="Sheet1"))
        cache = CacheDefinition(cacheSource=source, cacheFields=fields, id="rId1")
        cache.records = RecordList()
        items = [FieldItem(x=0, h=hidden or None), FieldItem(x=1), FieldItem(t="default")]
        table = TableDefinition(
            name="Pivot",
            cacheId=1,
            dataCaption="Values",
            location=Location(ref="A1:B4", firstHeaderRow=1, firstDataRow=1, firstDataCol=1),
            pivotFields=[PivotField(axis="axisRow", items=items), PivotField(dataField=True)],
            rowFields=[RowColField(x=row)],
            dataFields=[DataField(name="Sum", fld=1, subtotal=subtotal)],
        )
        table.cache = cache
        book.create_sheet("Sheet2").add_pivot(table)

    return xlsx(change=change)


def _saved(made: Any, change: Change | None, name: str) -> Got:
    if change is not None:
        change(made)
    file = io.BytesIO()
    made.save(file)
    return Got(name, file.getvalue())
