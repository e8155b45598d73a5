"""Links of the documentation: pages, anchors, pictures, `llms.txt`, and the list of commands.

That the building itself finds a page is checked by ``sphinx-build -W``; here is what it does not
look at: the README, anchors of headings, pictures that nobody shows, `llms.txt`, and help texts.
"""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import parse

from discretevae.cli import COMMANDS, TASKS, group

ROOT = Path(__file__).resolve().parent.parent
ANCHOR_LEVELS = 3
"""Of `myst_heading_anchors` in docs/conf.py."""

RECORDS = {"docs/results/fc-cvae-exact"}
"""Folders of pictures that belong to the figures of a run that a page reports without them."""

FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
EXTERNAL = re.compile(r"[a-z]+://|mailto:")


def pages_of(root: Path) -> list[Path]:
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    return sorted(page for page in pages if "_build" not in page.parts)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def slug(heading: str) -> str:
    """The anchor that MyST gives a heading, as GitHub does: letters, digits, ``_`` and ``-``."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("\\", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def docutils_id(heading: str) -> str:
    """The other anchor that the built page has: every run of other characters is one ``-``."""
    return re.sub(r"[^a-z0-9]+", "-", slug(heading)).strip("-")


def anchors(page: Path) -> set[str]:
    """Of the headings that get one; the second of two that are alike ends in ``-1``."""
    found: list[str] = []
    both = set()
    for marks, heading in HEADING.findall(prose(page)):
        if len(marks) <= ANCHOR_LEVELS:
            both.add(docutils_id(heading))
            name, number = slug(heading), 1
            while name in found:
                name, number = f"{slug(heading)}-{number}", number + 1
            found.append(name)
    explicit = re.findall(r"^\(([\w-]+)\)=$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {*found, *both, *explicit}


def links(page: Path) -> Iterator[tuple[bool, str, str]]:
    """Whether it is a picture, the path and the anchor of every internal link."""
    for mark, target in LINK.findall(prose(page)):
        if not EXTERNAL.match(target):
            path, _, anchor = target.partition("#")
            yield bool(mark), path, anchor


def problems(root: Path) -> list[str]:
    """What is wrong with the links of README and docs/ below ``root``."""
    wrong, shown, linked = [], set(), set()
    for page in pages_of(root):
        name = page.relative_to(root).as_posix()
        for is_picture, path, anchor in links(page):
            target = (page.parent / path).resolve() if path else page
            linked.add(target)
            if is_picture:
                shown.add(target)
            if not target.exists():
                wrong.append(f"{name}: {path} does not exist")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                wrong.append(f"{name}: {path}#{anchor}: no such heading")
            elif is_picture and target.read_bytes()[1:4] != b"PNG":
                wrong.append(f"{name}: {path} is no PNG")
    docs = root / "docs"
    pictures = {p.resolve() for p in docs.rglob("*.png") if "_build" not in p.parts}
    folders = {picture.parent for picture in pictures}
    for folder in sorted(folders - {picture.parent for picture in shown | linked}):
        name = folder.relative_to(root.resolve()).as_posix()
        if name not in RECORDS:
            wrong.append(f"{name}: no page shows a picture of this folder")
    return wrong


def llms_links(docs: Path) -> list[str]:
    text = (docs / "llms.txt").read_text(encoding="utf-8")
    return re.findall(r"^- \[[^\]]+\]\(([^)]+)\): .+$", text, re.MULTILINE)


def llms_problems(docs: Path) -> list[str]:
    """Links of `llms.txt` that lead nowhere, and pages that it does not name."""
    pages = {
        page.relative_to(docs).with_suffix(".html").as_posix()
        for page in pages_of(docs.parent)
        if page.is_relative_to(docs)
    }
    listed = llms_links(docs)
    return [
        *(f"{page}: not in llms.txt" for page in sorted(pages - set(listed))),
        *(f"llms.txt: {link} leads nowhere" for link in listed if link not in pages),
        *(f"llms.txt: {link} twice" for link in sorted(set(listed)) if listed.count(link) > 1),
    ]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The documentation somewhere else, to be damaged."""
    hidden = shutil.ignore_patterns("_build", "*.json")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=hidden)
    for name in ("README.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for link in re.findall(r"\]\(([^)#\s]+)\)", prose(ROOT / "README.md")):
        if not EXTERNAL.match(link) and (ROOT / link).is_file():
            (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / link, tmp_path / link)
    return tmp_path


def test_all_internal_links_lead_somewhere() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        ("docs/index.md", "(guide/data.md)", "(guide/date.md)", "guide/date.md does not exist"),
        ("docs/index.md", "(start/bits.png)", "(start/bit.png)", "start/bit.png does not exist"),
        ("README.md", "(docs/guide/search.md)", "(docs/search.md)", "docs/search.md does not"),
        ("docs/guide/training.md", "## The run folder", "## Folders", "no such heading"),
    ],
)
def test_a_broken_link_is_found(copied: Path, page: str, old: str, new: str, said: str) -> None:
    missing = {text for text in problems(copied) if ".json does not exist" not in text}
    text = (copied / page).read_text(encoding="utf-8")
    assert old in text
    (copied / page).write_text(text.replace(old, new), encoding="utf-8")
    found = set(problems(copied)) - missing
    assert any(said in problem for problem in found)


def test_a_folder_of_pictures_that_nobody_shows_is_found(copied: Path) -> None:
    (copied / "docs/results/lost").mkdir()
    shutil.copy(copied / "docs/start/bits.png", copied / "docs/results/lost/a.png")
    assert any("results/lost: no page shows" in problem for problem in problems(copied))


def test_anchors_are_those_of_myst() -> None:
    myst = pytest.importorskip("myst_parser.mdit_to_docutils.base")
    headings = [text for page in pages_of(ROOT) for _, text in HEADING.findall(prose(page))]
    assert len(headings) > 100
    for heading in headings:
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        assert slug(heading) == myst.default_slugify(plain.replace("\\", ""))
    assert slug("Grey or binary: `--binarize`") == "grey-or-binary---binarize"


def test_llms_txt_names_every_page_and_no_other() -> None:
    assert llms_problems(ROOT / "docs") == []


def test_a_page_that_llms_txt_forgets_is_found(copied: Path) -> None:
    (copied / "docs/guide/new.md").write_text("# New\n", encoding="utf-8")
    (copied / "docs/cite.md").unlink()
    found = llms_problems(copied / "docs")
    assert found == ["guide/new.html: not in llms.txt", "llms.txt: cite.html leads nowhere"]


def test_llms_txt_has_the_form_of_llmstxt_org() -> None:
    text = (ROOT / "docs/llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# discretevae\n\n> [^\n]+\n\n", text)
    details, *sections = re.split(r"^## .+$", text, flags=re.MULTILINE)
    assert "- Import: " in details
    assert len(sections) >= 3
    for section in sections:
        assert all(line.startswith("- [") for line in section.split("\n") if line)
    assert "llms.txt" in (ROOT / "docs/conf.py").read_text(encoding="utf-8")


def test_llms_txt_names_what_exists() -> None:
    import discretevae as dv

    text = (ROOT / "docs/llms.txt").read_text(encoding="utf-8")
    for name in re.findall(r"`dv\.(\w+)", text):
        assert hasattr(dv, name), name
    for name in re.findall(r"`model\.(\w+)", text):
        assert hasattr(dv.DiscreteVAE, name), name


def examples_of(page: Path) -> dict[str, str]:
    """What the table of commands gives as an example of each."""
    row = re.compile(
        r"^\| \[`([\w-]+)`\]\([^)]+\) \| [^|]+ \| `(discretevae [^`]+)` \|$", re.MULTILINE
    )
    return dict(row.findall(page.read_text(encoding="utf-8")))


def test_the_page_of_the_command_line_names_every_command() -> None:
    examples = examples_of(ROOT / "docs/guide/command-line.md")
    assert list(examples) == [name for names in TASKS.values() for name in names]
    for name, line in examples.items():
        assert line.split()[1] == name
        parse(line)


def test_every_command_has_one_task() -> None:
    assert sorted(name for names in TASKS.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    lines = re.findall(r"Example: (discretevae .+)", command.epilog or "")
    assert len(lines) == 1
    assert lines[0].split()[1] == name
    parse(re.sub(r" >>? \S+$", "", lines[0]))


def test_the_first_help_has_an_example_that_parses() -> None:
    lines = re.findall(r"^Example: (discretevae .+)$", group.epilog or "", re.MULTILINE)
    assert len(lines) == 1
    parse(lines[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    first = (command.help or "").split("\n\n")[0]
    assert first.rstrip().endswith("."), first
    for option in command.params:
        if option.param_type_name == "option":
            text = getattr(option, "help", None)
            assert text, option.name
            assert text[0].isupper() or text.startswith("p("), text


def test_the_first_page_lists_every_extra() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert listed == set(settings["project"]["optional-dependencies"])


def test_the_picture_of_the_first_page_can_be_drawn_again(tmp_path: Path) -> None:
    import discretevae as dv

    run = tmp_path / "run"
    config = dv.RunConfig(
        model=dv.ModelConfig(n_features=64, latent="bernoulli:5", hidden=(8,), image_shape=(8, 8)),
        training=dv.TrainConfig(epochs=1),
        data=dv.DataConfig(source="digits", divisor=16.0),
    )
    dv.run(dv.load_data("digits"), config, out=run, samples=1)
    script = runpy.run_path(str(ROOT / "scripts/front_picture"))
    script["draw"](run, tmp_path / "bits.png")
    assert (tmp_path / "bits.png").read_bytes()[1:4] == b"PNG"
    assert (ROOT / "docs/start/bits.png").stat().st_size < 200_000
