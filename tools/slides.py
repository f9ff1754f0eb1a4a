"""Slides from Markdown: one HTML file with its style and keys, which asks no other host.

``---`` between two slides; what follows ``Note:`` is for the speaker.
"""

from __future__ import annotations

import re
from pathlib import Path

from chapters import ROOT
from jinja2 import Environment
from markdown_it import MarkdownIt

SOURCE = ROOT / "book" / "teaching" / "slides.md"
PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width">
<style>
body { margin: 0; font: 2.2rem/1.4 sans-serif; color: #1b1b1b; background: #fff }
section { min-height: 100vh; box-sizing: border-box; padding: 6vh 8vw; display: none }
section.shown { display: block }
h1, h2 { color: #00557f } td, th { padding: .2em .8em; border-bottom: 1px solid #888 }
aside { display: none; font-size: 1.3rem; border-top: 2px solid #00557f; margin-top: 2em }
.notes aside { display: block }
@media print { section { display: block; break-after: page } aside { display: block } }
@media (max-width: 700px) { body { font-size: 1.2rem } }
</style></head><body>
{% for body, note in slides %}<section aria-label="Slide {{ loop.index }} of {{ slides|length }}">
{{ body|safe }}{% if note %}<aside>{{ note|safe }}</aside>{% endif %}</section>
{% endfor %}<script>
const slides = [...document.querySelectorAll("section")];
const wanted = () => (parseInt(location.hash.slice(1)) || 1) - 1;
let at = 0;
function show(to) {
  at = Math.max(0, Math.min(slides.length - 1, to));
  slides.forEach((slide, i) => slide.classList.toggle("shown", i === at));
  history.replaceState(null, "", "#" + (at + 1));
}
const keys = {ArrowRight: () => at + 1, PageDown: () => at + 1, " ": () => at + 1,
  ArrowLeft: () => at - 1, PageUp: () => at - 1, Home: () => 0, End: () => slides.length - 1};
addEventListener("keydown", event => {
  if (event.key === "n") document.body.classList.toggle("notes");
  if (keys[event.key]) { event.preventDefault(); show(keys[event.key]()); }
});
addEventListener("hashchange", () => show(wanted()));
show(wanted());
</script></body></html>
""")


def slides(source: str) -> str:
    """The page for a Markdown source."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    made = []
    for slide in re.split(r"^---$", source, flags=re.M):
        body, _, note = slide.partition("\nNote:")
        made.append((markdown.render(body), markdown.render(note.strip())))
    title = re.search(r"^# (.+)$", source, re.M)[1]
    return PAGE.render(title=title, slides=made)


def write(target: Path) -> None:
    target.write_text(slides(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
