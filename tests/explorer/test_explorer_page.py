"""The explorer's page in a real browser, against a real server on a small run of digits."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from explorer_browser import (
    CHROMIUM,
    FILLED,
    FLAGS,
    PAINTED,
    WAIT,
    Server,
    Visit,
    flip,
    sections,
    served,
    tile,
)

import discretevae

pytest.importorskip("starlette", reason="the explorer needs starlette")
pytest.importorskip("uvicorn", reason="the explorer needs uvicorn")
sync_api = pytest.importorskip("playwright.sync_api", reason="these tests need playwright")
expect = sync_api.expect

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

STATIC = Path(discretevae.__file__).parent / "explorer" / "static"
BITS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("explored") / "digits-run", f"bernoulli:{BITS}") as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Any]:
    """Opens pages; at the end none may have complained or asked anybody else for anything."""
    expect.set_options(timeout=WAIT)
    made: list[Visit] = []

    def new(of: Server = server, **options: Any) -> Visit:
        made.append(Visit(browser, of, **options))
        return made[-1]

    yield new
    for one in made:
        one.context.close()
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(one.server.url)] == []
    expect.set_options(timeout=5_000)


def test_the_page_loads_and_shows_a_row_with_its_code(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    expect(page.locator("#run")).to_contain_text(f"bernoulli:{BITS}")
    expect(page.locator("#bits-board .bit")).to_have_count(BITS)
    answer = server.ask("api/encode", {"row": 0})
    one.shows("#original", list(base64.b64decode(answer["input"]["pixels"])))
    one.shows("#picture", list(base64.b64decode(answer["reconstruction"]["pixels"])))
    assert one.code() == answer["code"]
    expect(page.locator("#figures")).to_contain_text("ELBO")
    assert f"{server.url}api/model" in one.requests


def test_the_files_are_small_and_nothing_is_inline() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for path in files:
        written = path.read_text(encoding="utf-8")
        outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", written.replace("www.w3.org", ""))
        assert [url for url in outside if path.suffix != ".js" or "http" in url] == []
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", written)


def test_flipping_a_bit_shows_the_picture_of_the_new_code(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    before, pixels = one.code(), one.painted("#picture")
    tile(page, 3).click()
    after = [*before[:3], 1 - before[3], *before[4:]]
    expect(tile(page, 3)).to_have_attribute("aria-pressed", "true" if after[3] else "false")
    one.shows("#picture", server.picture(after))
    assert one.code() == after
    assert one.painted("#picture") != pixels
    expect(page.locator("#figures")).to_contain_text("Changed by you1")

    page.locator("#undo").click()
    one.shows("#picture", pixels)
    page.locator("#redo").click()
    one.shows("#picture", server.picture(after))
    flip(page, 7)
    page.locator("#reset").click()
    one.shows("#picture", pixels)
    assert one.code() == before


def test_the_effect_of_a_bit_is_shown_before_it_is_pressed(visit: Any) -> None:
    one = visit()
    page = one.open()
    before = one.code()
    tile(page, 5).hover()
    word = "off" if before[5] else "on"
    expect(page.locator("figure:has(#change)")).to_contain_text(f"if bit 5 is {word}")
    assert one.code() == before


def test_rows_are_picked_by_hand_by_label_and_by_the_address(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    page.locator('#rows [data-row="7"]').click()
    expect(page).to_have_url(re.compile(r"#/code\?row=7$"))
    pixels = list(base64.b64decode(server.ask("api/encode", {"row": 7})["input"]["pixels"]))
    one.shows("#original", pixels)

    page.locator("#label").select_option("3")
    wanted = server.ask("api/rows?start=0&count=48&label=3")
    first = wanted["rows"][0]["row"]
    expect(page.locator("#rows button").first).to_have_attribute("data-row", str(first))
    expect(page.locator("#rows button")).to_have_count(len(wanted["rows"]))
    page.locator("#rows button").first.click()
    expect(page.locator("figure:has(#original)")).to_contain_text(
        f"row {first} (number {wanted['rows'][0]['id']} in the data), label 3"
    )

    page.go_back()
    one.shows("#original", pixels)
    page.reload()
    one.shows("#original", pixels)
    page.locator("#row").fill("11")
    page.locator("#row").press("Enter")
    expect(page).to_have_url(re.compile(r"row=11$"))


def test_a_drawing_is_encoded_as_it_is_drawn(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    page.locator("#from-pad").click()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    expect(page.locator(".boardbox h3")).to_have_text("Code of your drawing")
    drawn = [int(value) for value in page.locator("#pad").evaluate(PAINTED)]
    assert max(drawn) > 200
    answer = server.ask("api/encode", {"pixels": base64.b64encode(bytes(drawn)).decode()})
    one.shows("#original", list(base64.b64decode(answer["input"]["pixels"])))
    one.shows("#picture", list(base64.b64decode(answer["reconstruction"]["pixels"])))

    page.get_by_role("button", name="Clear").click()
    page.wait_for_function(
        f"() => Math.max(...({PAINTED})(document.querySelector('#original canvas'))) === 0"
    )


def test_an_image_file_is_opened_and_another_file_is_refused(visit: Any, tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = b"".join(b"\0" + bytes([0] * 8 + [255] * 8) for _ in range(16))
    head = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    (tmp_path / "no.png").write_text("no image")
    one = visit()
    page = one.open()
    page.locator("#from-pad").click()
    page.locator("#file").set_input_files(tmp_path / "half.png")
    expect(page.locator(".boardbox h3")).to_have_text("Code of your drawing")
    drawn = page.locator("#pad").evaluate(PAINTED)
    assert drawn[0] == 0
    assert drawn[7] == 255
    page.locator("#file").set_input_files(tmp_path / "no.png")
    expect(page.locator(".padtools .error")).to_contain_text("no.png is not an image")


def test_a_walk_goes_from_one_code_to_the_other(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/walk?a=0&b=1")
    ends = [server.ask("api/encode", {"row": row})["code"] for row in (0, 1)]
    steps = server.ask("api/walk", {"from": ends[0], "to": ends[1]})["steps"]
    assert len(steps) > 2
    expect(page.locator("#film button")).to_have_count(len(steps))
    page.locator("#film button").nth(1).click()
    variable = steps[1]["variable"]
    word = "on" if steps[1]["code"][variable] else "off"
    expect(page.locator("#step-text")).to_have_text(f"1 of {len(steps) - 1}: bit {variable} {word}")
    one.shows("#step-picture", list(base64.b64decode(steps[1]["picture"]["pixels"])))
    page.locator("#step").fill("0")
    expect(page.locator("#step-text")).to_contain_text("start")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#step-text")).to_contain_text(f"{len(steps) - 1} of")
    expect(page.locator("#play")).to_have_text("Play")  # it stops at the end
    one.shows("#step-picture", server.picture(ends[1]))
    page.locator("#open-step").click()
    expect(page.locator(".boardbox h3")).to_have_text("Code of a code without a row")
    assert one.code() == ends[1]


def test_bits_are_sorted_and_tell_what_they_do(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/bits?row=0")
    overview = server.ask("api/overview")["variables"]
    strongest = max(overview, key=lambda entry: entry["strength"])["index"]
    cards = page.locator("#effects .card")
    expect(cards).to_have_count(BITS)
    expect(cards.first).to_have_attribute("data-variable", str(strongest))
    expect(page.locator("#effects canvas")).to_have_count(BITS)
    page.locator("#order").select_option("index")
    expect(cards.first).to_have_attribute("data-variable", "0")
    cards.nth(4).click()
    expect(page.locator("#detail h3")).to_have_text("Bit 4")
    effect = server.ask("api/effects?variable=4")
    one.shows("#detail figure:nth-of-type(1)", list(base64.b64decode(effect["off"]["pixels"])))
    one.shows("#detail figure:nth-of-type(3)", list(base64.b64decode(effect["on"]["pixels"])))
    unused = [entry["index"] for entry in overview if entry["kl"] < 0.01]
    assert page.locator("#effects .unused").count() == len(unused)
    page.locator("#flip-here").click()
    expect(tile(page, 4)).to_have_class(re.compile("moved"))


def test_clusters_show_their_members(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/clusters")
    clusters = server.ask("api/clusters")["clusters"]
    expect(page.locator("#clusters .cluster")).to_have_count(len(clusters))
    cluster = max(clusters, key=lambda entry: entry["size"])
    page.locator(f'#clusters [data-cluster="{cluster["cluster"]}"]').click()
    members = server.ask(f"api/clusters/{cluster['cluster']}?start=0&count=48")["rows"]
    expect(page.locator("#members button").first).to_have_attribute(
        "data-row", str(members[0]["row"])
    )
    expect(page.locator("#members button")).to_have_count(len(members))
    page.locator("#members button").first.click()
    expect(page).to_have_url(re.compile(rf"#/code\?row={members[0]['row']}$"))


def test_a_neighbor_becomes_the_current_row(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/code?row=5")
    page.locator("#to-neighbors").click()
    code = server.ask("api/encode", {"row": 5})["code"]
    near = server.ask("api/neighbors", {"code": code, "k": 24, "row": 5})["rows"]
    expect(page.locator("#nearest button")).to_have_count(len(near))
    shown = page.locator("#nearest .caption").all_text_contents()
    assert shown == [str(row["distance"]) for row in near]
    page.locator("#nearest button").first.click()
    expect(page).to_have_url(re.compile(rf"#/neighbors\?row={near[0]['row']}$"))
    pixels = server.ask("api/encode", {"row": near[0]["row"]})["input"]["pixels"]
    one.shows("#query", list(base64.b64decode(pixels)))


def test_samples_follow_temperature_and_seed_and_open_in_code(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/samples")
    drawn = page.locator("#drawn")
    expect(drawn).to_have_attribute("data-drawn", "1/0")
    expect(page.locator("#drawn button")).to_have_count(60)
    page.locator("#temperature").fill("0.3")
    expect(drawn).to_have_attribute("data-drawn", "0.30/0")
    page.locator("#again").click()
    expect(drawn).to_have_attribute("data-drawn", "0.30/1")
    expect(page.locator("#seed")).to_have_value("1")
    answer = server.ask("api/sample", {"n": 60, "temperature": 0.3, "seed": 1})
    pixels = list(base64.b64decode(answer["pictures"][2]["pixels"]))
    one.shows('#drawn [data-sample="2"]', pixels)
    page.locator('#drawn [data-sample="2"]').click()
    one.shows("#picture", pixels)
    assert one.code() == answer["codes"][2]
    page.reload()  # the code stands in the address
    one.shows("#picture", pixels)


def test_training_shows_the_curves_that_are_chosen(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open("#/training")
    epochs = server.ask("api/history")["epochs"]
    expect(page.locator('path[data-key="test_elbo"]')).to_have_count(1)
    page.get_by_label("seconds", exact=True).check()
    expect(page.locator('path[data-key="seconds"]')).to_have_count(1)
    page.get_by_label("test_elbo", exact=True).uncheck()
    expect(page.locator('path[data-key="test_elbo"]')).to_have_count(0)
    page.locator(".chart").first.focus()
    page.keyboard.press("End")
    expect(page.locator("#readout")).to_contain_text(f"Epoch {len(epochs)}")
    assert "nats per row" in page.locator("#charts").text_content()
    figures = server.ask("api/model")["figures"]
    assert "elbo" in figures
    for key, value in figures.items():
        if isinstance(value, bool):
            continue
        row = page.locator("#run-figures tr", has=page.get_by_text(key, exact=True))
        shown = f"{abs(value):.2f}"[:-1].removesuffix(".0")
        assert shown in row.text_content().replace(",", "")


def test_a_bit_is_flipped_with_the_keyboard_alone(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    before = one.code()
    focused = "document.activeElement.dataset.variable"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(focused) is not None:
            break
    assert page.evaluate(focused) == "0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    after = [*before[:2], 1 - before[2], *before[3:]]
    one.shows("#picture", server.picture(after))
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == str(min(12, BITS - 1))
    page.keyboard.press("u")
    one.shows("#picture", server.picture(before))
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()
    page.keyboard.press("6")
    expect(page.locator("#h-samples")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_section_without_sideways_scrolling(visit: Any, scheme: str) -> None:
    one = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    page = one.open("#/code?row=3")
    for view in sections(page):
        width, room = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= room == 360, view


def test_dark_is_a_choice_that_is_remembered(visit: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    one = visit(color_scheme="dark")
    page = one.open()
    dark = page.evaluate(paper)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 150
    page.locator("#theme").click()
    light = page.evaluate(paper)
    assert sum(map(int, re.findall(r"\d+", light)[:3])) > 600
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(paper) == light

    barred = visit(color_scheme="dark")
    barred.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('barred'); }})"
    )
    page = barred.open()
    page.locator("#theme").click()
    assert page.evaluate(paper) == light


CONTRAST = """pairs => {
  const probe = document.body.appendChild(document.createElement("i"));
  const light = name => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
    const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return pairs.map(([a, b]) => Math.max(light(a), light(b)) / Math.min(light(a), light(b)));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme).open()
    texts = [(ink, ground) for ink in ("ink", "muted", "accent", "danger") for ground in
             ("paper", "surface")]  # fmt: skip
    texts += [("accent", "accent-soft"), ("on-accent", "accent"), ("on-accent", "accent-strong")]
    texts += [("ink", "accent-soft"), ("ink", "danger-soft"), ("muted", "well")]
    found = page.evaluate(CONTRAST, texts)
    assert {pair: ratio for pair, ratio in zip(texts, found, strict=True) if ratio < 4.5} == {}


def test_every_control_and_picture_has_a_name(visit: Any) -> None:
    named = ["button", "link", "checkbox", "radio", "slider"]
    named += ["spinbutton", "combobox", "textbox", "image"]
    one = visit()
    page = one.open()
    session = one.context.new_cdp_session(page)
    for view in sections(page):
        seen, nameless = 0, []
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if node.get("ignored") or role not in named:
                continue
            seen += 1
            if not node.get("name", {}).get("value", "").strip():
                nameless.append((view, role, node.get("properties")))
        assert seen > 10
        assert nameless == []
    session.detach()


def test_an_answer_to_an_outdated_question_is_dropped(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    code = one.code()
    held: list[Any] = []

    def hold(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/decode", hold)
    flip(page, 0)
    page.wait_for_function("() => document.querySelector('[aria-busy=true] #picture')")
    while not held:  # else the question could be given up before it is held, and the next be held
        page.evaluate("() => new Promise(requestAnimationFrame)")
    flip(page, 1)
    wanted = server.picture([1 - code[0], 1 - code[1], *code[2:]])
    one.shows("#picture", wanted)
    assert len(held) == 1
    wrong = server.ask("api/decode", {"code": [1 - code[0], *code[1:]]})
    with suppress(sync_api.Error):  # the page has given that question up
        held[0].fulfill(json=wrong)
    page.evaluate("() => fetch('/api/ping')")
    assert one.painted("#picture") == wanted
    page.unroute("**/api/decode")


def test_texts_of_the_data_stay_texts(visit: Any) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\">"

    def spoil(route: Any) -> None:
        answer = route.fetch()
        if answer.ok:
            told = answer.json()
            for row in told["rows"] if isinstance(told.get("rows"), list) else ():
                row["label"] = row["id"] = evil
            if "run" in told:
                told["run"] = told["data"]["name"] = evil
                told["data"]["labels"][0] = evil
                told["figures"][evil] = 1.0
            for cluster in told.get("clusters", []):
                cluster["label_counts"] = {evil: 3}
            route.fulfill(json=told)
        else:
            route.fulfill(status=400, json={"error": evil})

    one = visit()
    one.page.route("**/api/*", spoil)
    page = one.open("#/code?row=2")
    expect(page.locator("#run strong")).to_have_text(evil)
    expect(page.locator("#label option").nth(1)).to_have_text(evil)
    expect(page.locator("figure:has(#original)")).to_contain_text(f"{evil} (row 2), label {evil}")
    assert [*sections(page)] == [*FILLED]
    page.evaluate("location.hash = '#/code?row=99999'")
    expect(page.locator("#code-trouble")).to_contain_text(evil)
    assert page.locator("img").count() == 1  # the page's own
    assert "taken" not in page.evaluate("document.title.slice(0, 5)")
    one.complaints[:] = [text for text in one.complaints if "status of 400" not in text]
    page.unroute("**/api/*")


def test_an_error_of_the_server_is_told_where_it_was_caused(visit: Any) -> None:
    one = visit()
    page = one.open("#/code?row=99999")
    expect(page.locator("#code-trouble .error")).to_contain_text("99999")
    page.locator('#rows [data-row="4"]').click()
    expect(page.locator("#code-trouble .error")).to_have_count(0)
    expect(page.locator(".boardbox h3")).to_contain_text("row 4")
    one.complaints[:] = [text for text in one.complaints if "status of 400" not in text]


def test_a_server_that_went_is_waited_for_and_asked_again(visit: Any, server: Server) -> None:
    one = visit()
    page = one.open()
    code = one.code()
    server.stop()
    flip(page, 2)
    expect(page.locator("#gone")).to_be_visible()
    expect(page.locator("#gone")).to_contain_text(f"--port {server.port}")
    server.start()
    expect(page.locator("#gone")).to_be_hidden()
    one.shows("#picture", server.picture([*code[:2], 1 - code[2], *code[3:]]))
    one.complaints[:] = [text for text in one.complaints if "ERR_CONNECTION" not in text]


def test_a_table_has_bars_and_a_model_without_bits_other_controls(
    visit: Any, tmp_path: Path
) -> None:
    names = ["height", "<b>age</b>", "score"]
    lines = [[f"{(7 * i * (k + 1)) % 11 - 5}" for k in range(3)] for i in range(120)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(map(",".join, [names, *lines])) + "\n")
    options = ["--data", str(table), "--likelihood", "gaussian:0.5"]
    with served(tmp_path / "run", "categorical:4+gaussian:2", *options, epochs=1) as server:
        one = visit(server)
        page = one.open()
        bars = page.locator("#picture .barlist li")
        expect(bars).to_have_count(3)
        assert page.locator("#picture .name").all_text_contents() == names
        expect(page.locator("[data-view=bits]")).to_have_text("Variables")

        code = server.ask("api/encode", {"row": 0})["code"]
        code[0] = (code[0] + 1) % 4
        page.locator(f'[role=radio][data-category="{code[0]}"]').click()
        page.locator(".real input").first.focus()
        page.keyboard.press("ArrowRight")
        code[1] += 0.1
        values = server.ask("api/decode", {"code": code})["picture"]["values"]
        shown = [f"{value:.2f}".replace("-", "−") for value in values]
        expect(page.locator("#picture .value")).to_have_text(shown)
        for view in sections(page, ".bars"):
            assert page.locator(".error:visible").count() == 0, view
