"""The SVG text: well-formed, safe, self-contained, the same every time."""

import re
from xml.etree import ElementTree

import pytest

from graphc.scalars import tanh
from graphc.show.build import Request, picture
from graphc.show.label import LONGEST, cut, text_width
from graphc.show.layout import layout
from graphc.show.picture import Picture
from graphc.show.svg import path, svg
from show import models
from show.shapes import MODELS, drawn

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"quoted" & <tagged>',
    "back\\slash\\n",
    "null\0 and bell\a",
    "\u202eright to left",
    "emoji 🙂 and 漢字",
    "lone \ud800 surrogate",
    "<not html>",
    "x" * 500,
    "]]>",
]


def svg_of(shown: Picture) -> str:
    return svg(shown, layout(shown))


@pytest.mark.parametrize("name", MODELS)
def test_it_is_well_formed_and_whole(name):
    shown = drawn(name)
    root = ElementTree.fromstring(svg_of(shown))
    groups = [g for g in root.iter(f"{SVG}g") if "node" in g.get("class", "")]
    edges = [p.get("data-edge") for p in root.iter(f"{SVG}path") if p.get("data-edge")]
    assert len(groups) == len(shown.boxes)
    assert edges == [f"{e.source}-{e.target}-{e.port}" for e in shown.edges]
    assert all(g.find(f"{SVG}title") is not None for g in groups)


def test_it_needs_nothing_from_outside():
    text = svg_of(drawn("attention"))
    root = ElementTree.fromstring(text)
    assert root.get("viewBox")
    assert root.find(f"{SVG}title").text == "graph"
    assert "boxes" in root.find(f"{SVG}desc").text
    assert not re.search(r"<script|<foreignObject|<image|@import|url\((?!#)", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


def test_ids_are_unique_and_carry_the_drawings_prefix():
    first, second = svg_of(drawn("mlp")), svg_of(drawn("convnet"))
    ids = [re.findall(r'\bid="([^"]*)"', text) for text in (first, second)]
    assert len(set(ids[0] + ids[1])) == len(ids[0] + ids[1])
    for text, found in zip((first, second), ids, strict=True):
        assert set(re.findall(r"#(g[0-9a-f]{10}[\w-]*)", text)) <= {*found}


def test_the_same_picture_gives_the_same_bytes():
    assert svg_of(drawn("lstm")) == svg_of(drawn("lstm"))


def test_no_rule_leaves_the_drawing():
    text = svg_of(drawn("mlp"))
    prefix = ElementTree.fromstring(text).get("id")
    sheet = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    rules = re.sub(r"@media[^{]*{", "", sheet)
    selectors = [s.strip("} \n") for s in re.findall(r"([^{}]+){", rules)]
    assert all(part.startswith(f"#{prefix} ") for s in selectors for part in s.split(","))


def test_dark_paper_has_rules_of_its_own():
    assert "prefers-color-scheme:dark" in svg_of(drawn("mlp"))


def test_pairs_share_a_number():
    root = ElementTree.fromstring(svg_of(drawn("mlp")))
    badges = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "badge"]
    assert all(badges.count(number) >= 2 for number in badges)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_do_no_harm(name):
    x = models.leaf(name, 2)
    y = tanh(x) * x
    shown = picture(Request((y,), names={y: name}, values={y: name}, title=name))
    text = svg_of(shown)
    root = ElementTree.fromstring(text.encode())
    assert root.tag == f"{SVG}svg"
    assert "<script" not in text
    assert max(len(t.text or "") for t in root.iter(f"{SVG}text")) <= 2 * LONGEST + 500


def test_an_empty_picture_is_a_drawing():
    assert ElementTree.fromstring(svg_of(Picture(()))).tag == f"{SVG}svg"


def test_corners_are_rounded_within_their_lines():
    assert path([(0, 0), (0, 4), (100, 4)]) == "M0 0L0 2Q0 4 6 4L100 4"


def test_long_words_are_cut():
    assert len(cut("x" * 100)) == LONGEST
    assert cut("short") == "short"
    assert text_width("漢字", 10) == 20
