// One code: where it came from, the picture it makes, and the board on which it is changed.

import { Latest } from "../api.js";
import { difference, fullScale, legend, show, showDifference } from "../draw.js";
import { button, el, figure, plural, say } from "../dom.js";
import * as store from "../store.js";
import { board } from "./board.js";
import { pad } from "./pad.js";
import { picker, randomRow } from "./picker.js";

const { current } = store;
const HINT = 40; // milliseconds that the pointer rests on a tile before its effect is asked for

function frame(id, title) {
  const holder = el("div", { class: "frame big", id });
  const note = el("span", { class: "muted" });
  const node = el("figure", null, el("figcaption", null, el("strong", { text: title }), " ", note), holder);
  return { holder, note, node };
}

export function mount(body, app) {
  const model = current.model;
  const original = frame("original", "Original");
  const picture = frame("picture", "From the code");
  const change = frame("change", "Difference");
  const figures = el("dl", { class: "figures", id: "figures" });
  const trouble = el("div", { id: "code-trouble" });
  const title = el("h3", { text: "Code" });
  const tools = {
    undo: button("Undo", store.undo, { id: "undo", class: "button small", title: "Undo (U)" }),
    redo: button("Redo", store.redo, { id: "redo", class: "button small", title: "Redo (Shift+U)" }),
    reset: button("Back to the encoder’s code", store.reset, { id: "reset", class: "button small", title: "Back to the encoder’s code (E)" }),
    neighbors: button("Neighbors", () => app.go("neighbors"), { id: "to-neighbors", class: "button small", title: "Rows with the nearest codes (N)" }),
  };

  // what a press on the tile under the pointer would change
  const hinting = new Latest();
  let hinted = null;
  let resting = 0;
  const point = (to) => {
    clearTimeout(resting);
    hinting.cancel();
    hinted = null;
    if (to === null) drawChange();
    else resting = setTimeout(() => preview(to), HINT);
  };
  const preview = async ({ variable, value }) => {
    const from = current.code;
    const code = [...from];
    code[variable.index] = value;
    try {
      const then = await hinting.run((signal) => store.decode(code, signal));
      if (current.code !== from) return;
      hinted = { then, text: `if ${store.nameOf(variable)} is ${variable.kind === "bit" ? (value ? "on" : "off") : value}` };
      drawChange();
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  };
  const drawChange = () => {
    const moved = store.changed().length;
    const before = moved === 0 ? current.input : current.reconstruction;
    const [from, to] = hinted ? [current.picture, hinted.then] : [before, current.picture];
    change.node.classList.toggle("empty", !from || !to);
    change.note.textContent = hinted ? hinted.text : moved > 0 ? `by ${plural(moved, "change")}` : from ? "against the original" : "none yet";
    if (!from || !to) return;
    const values = difference(from, to);
    showDifference(change.holder, values, fullScale(values), `Difference of the picture, ${change.note.textContent}`);
  };
  const tiles = board(point);

  const drawFigures = () => {
    const rows = [];
    const add = (name, value, help) => rows.push(el("div", { title: help }, el("dt", { text: name }), el("dd", { text: value })));
    if (current.figures) {
      const { elbo, kl, log_likelihood: fit } = current.figures;
      const surrogate = current.figures.isSurrogate ? " A cross-entropy, as the input is no 0 and 1." : "";
      add("ELBO", store.nats(elbo), "The evidence lower bound of this input: what the model makes of it, all in all." + surrogate);
      add("Log-likelihood", store.nats(fit), "How well the codes that the encoder gives explain the input." + surrogate);
      add("KL", store.nats(kl), "What the code of this input costs");
      add("ln q(code)", store.logProbability(), "How likely the encoder finds the code on the board");
    }
    const bits = model.variables.filter((v) => v.kind === "bit");
    if (bits.length > 0) add("Bits on", `${bits.filter((v) => current.code[v.index] === 1).length} of ${bits.length}`);
    add("Changed by you", String(store.changed().length));
    figures.replaceChildren(...rows);
  };

  store.on("source", () => {
    title.textContent = `Code of ${store.sourceText()}`;
    original.node.hidden = current.input === null;
    if (current.input) {
      show(original.holder, current.input, `Original, ${store.sourceText()}`);
      original.note.textContent = store.sourceText();
    }
    tools.reset.textContent = current.probabilities ? "Back to the encoder’s code" : "Back to the first code";
  });
  store.on("code", () => {
    trouble.replaceChildren();
    hinting.cancel();
    hinted = null;
    tiles.update();
    tools.undo.disabled = !store.canUndo();
    tools.redo.disabled = !store.canRedo();
    tools.reset.disabled = store.changed().length === 0;
    picture.node.setAttribute("aria-busy", current.picture === null);
    drawFigures();
  });
  store.on("picture", () => {
    picture.node.setAttribute("aria-busy", "false");
    const moved = store.changed();
    picture.note.textContent = moved.length ? `${moved.length} changed` : current.probabilities ? "the encoder’s" : "as it came";
    show(picture.holder, current.picture, `Picture ${store.describe(current.code)}`);
    drawChange();
    say(`Picture redrawn, ${picture.note.textContent}.`);
  });
  store.on("error", () => {
    picture.node.setAttribute("aria-busy", "false");
    trouble.replaceChildren(el("p", { class: "error", role: "alert", text: store.problem }));
  });
  addEventListener("themechange", drawChange);

  // where codes come from
  const random = button("Random row", () => app.open(randomRow()), { id: "random", class: "button small", title: "Random row (R)" });
  const rows = picker(app.open);
  const drawing = model.image ? pad(model.image, (data) => {
    app.leaveRow();
    return store.openPixels(data);
  }) : null;
  const [data, draw] = ["Rows", "Draw or open an image"].map((text, i) =>
    button(text, () => choose(i), { "aria-pressed": i === 0, id: ["from-data", "from-pad"][i] }));
  const choose = (i) => {
    rows.hidden = i === 1;
    drawing.node.hidden = i === 0;
    data.setAttribute("aria-pressed", i === 0);
    draw.setAttribute("aria-pressed", i === 1);
  };
  if (drawing) drawing.node.hidden = true;

  body.append(
    el("div", { class: "code" },
      el("div", { class: "stage" },
        el("div", { class: "pictures" }, original.node, picture.node, change.node),
        legend(), trouble, figures),
      el("div", { class: "panel boardbox" },
        el("div", { class: "bar" }, title, el("span", { class: "spacer" }), tools.undo, tools.redo),
        tiles.node,
        key(model),
        el("div", { class: "bar" }, tools.reset, el("span", { class: "spacer" }), tools.neighbors)),
      el("div", { class: "panel source" },
        el("div", { class: "bar" }, el("div", { class: "segments", role: "group", "aria-label": "Where the code comes from" }, data, drawing ? draw : null),
          el("span", { class: "spacer" }), random),
        rows, drawing?.node)),
  );
  return {
    draw: () => {
      if (!drawing) return;
      choose(1);
      drawing.focus();
    },
  };
}

/** What the marks on the board mean. */
function key(model) {
  if (!model.variables.some((v) => v.kind !== "real")) return null;
  const bits = store.hasBits(model);
  const sample = (name, p, text) => el("span", { class: "sample" },
    el("span", { class: `bit ${name}`, style: { "--p": p } }, el("span", { class: "well" }, el("i"))), el("span", { text }));
  return el("p", { class: "key", "aria-hidden": "true" },
    sample("pressed", 0.95, bits ? "on" : "chosen"), bits ? sample("", 0.1, "off") : null,
    sample("pressed unsure", 0.55, "uncertain"), sample("pressed moved", 0.1, "changed by you"),
    el("span", { class: "muted", text: "The height is the encoder’s probability." }));
}
