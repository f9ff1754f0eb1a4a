"""The slides: one file, every slide with its note, nothing from elsewhere."""

import re

import slides


def test_slides_notes_and_tables_are_there():
    page = slides.slides("# Title\n\n---\n\n## A\n\n|a|b|\n|--|--|\n|1|<2|\n\nNote: *say* it")
    assert page.count("<section") == 2
    assert "<title>Title</title>" in page
    assert "<td>&lt;2</td>" in page
    assert re.findall("<aside>(.*?)</aside>", page, re.S) == ["<p><em>say</em> it</p>\n"]


def test_the_lecture_asks_no_other_host(tmp_path):
    slides.write(tmp_path / "slides.html")
    page = (tmp_path / "slides.html").read_text(encoding="utf-8")
    assert page.count("<section") == page.count("<aside>") == 12
    assert not re.search(r"(?:https?:)?//\w|src=|@import|url\(", page)
