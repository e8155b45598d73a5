// From the code of one row to that of another, a variable at a time.

import { get, Latest, post } from "../api.js";
import { difference, fullScale, legend, show, showDifference } from "../draw.js";
import { attempt, button, el, field, plural, say } from "../dom.js";
import { current, describe, nameOf, nameOfRow, placeName, placeOf } from "../store.js";
import { tiles } from "../tiles.js";
import { randomRow } from "./picker.js";

const PACE = 350; // milliseconds of a step when it plays

export function mount(body, app) {
  const model = current.model;
  const asking = new Latest();
  const ends = { a: end("a", "From"), b: end("b", "To") };
  const now = { holder: el("div", { class: "frame big", id: "step-picture" }), text: el("span", { id: "step-text" }) };
  const change = { holder: el("div", { class: "frame big", id: "step-change" }) };
  const film = tiles("Steps of the walk", { id: "film", class: "tiles film" });
  const slider = el("input", { type: "range", id: "step", min: 0, max: 0, value: 0, "aria-label": "Step of the walk", oninput: () => {
    stop();
    go(Number(slider.value));
  } });
  const play = button("Play", () => (timer ? stop() : start()), { id: "play", title: "Play or pause (P)" });
  const open = button("Open this step in Code", () => app.openCode(steps[at].code), { id: "open-step" });
  const trouble = el("div");
  const note = el("p", { class: "muted", id: "walk-note" });
  let [steps, at, timer] = [[], 0, 0];

  function end(name, title) {
    const number = el("input", { type: "number", id: `row-${name}`, min: 0, max: model.data.n_rows - 1, step: 1, inputmode: "numeric", "aria-label": `${title} row`,
      onchange: () => number.value !== "" && number.reportValidity() && app.set({ [name]: number.value }) });
    const holder = el("div", { class: "frame big" });
    const label = el("span", { class: "muted" });
    const node = el("figure", null,
      el("figcaption", null, el("strong", { text: title }), " ", label), holder,
      el("div", { class: "bar" }, field("Row", number),
        button("Random", () => app.set({ [name]: String(randomRow()) }), { class: "button small", "aria-label": `Random row to walk ${title.toLowerCase()}` })));
    return { number, holder, label, node };
  }

  const stepText = (step) => {
    if (step === steps[0]) return "start";
    if (step.variable === null || step.variable === undefined) return "numbers move";
    if (model.grid) return placeName(placeOf(step.variable));
    const variable = model.variables[step.variable];
    const value = step.code[step.variable];
    return `${nameOf(variable)} ${variable.kind === "bit" ? (value ? "on" : "off") : `to ${value}`}`;
  };
  const go = (to) => {
    at = to;
    const step = steps[at];
    slider.value = at;
    slider.setAttribute("aria-valuetext", `step ${at}, ${stepText(step)}`);
    show(now.holder, step.picture, `Step ${at}, picture ${describe(step.code)}`);
    now.text.textContent = `${at} of ${steps.length - 1}: ${stepText(step)}`;
    const values = difference(steps[Math.max(0, at - 1)].picture, step.picture);
    showDifference(change.holder, values, fullScale(values), `Change by this step, ${stepText(step)}`);
    film.mark((node) => Number(node.dataset.step) === at);
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const start = () => {
    if (steps.length < 2) return;
    if (at === steps.length - 1) go(0);
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (at + 1 < steps.length) go(at + 1);
      else stop();
    }, PACE);
  };

  let shown = "";
  const load = (a, b) => {
    if (shown === `${a}-${b}`) return undefined;
    stop();
    return attempt(trouble, async () => {
      const answer = await asking.run(async (signal) => {
        const [from, to] = await Promise.all([a, b].map(async (row) => {
          const said = nameOfRow(row, signal);
          return { ...(await post("/api/encode", { row }, signal)), said: await said };
        }));
        const walk = await post("/api/walk", { from: from.code, to: to.code }, signal);
        return { from, to, steps: walk.steps };
      });
      shown = `${a}-${b}`;
      steps = answer.steps;
      for (const [name, row, one] of [["a", a, answer.from], ["b", b, answer.to]]) {
        ends[name].number.value = row;
        ends[name].label.textContent = one.said;
        show(ends[name].holder, one.input, `Original, ${one.said}`);
      }
      slider.max = steps.length - 1;
      film.draw(steps.map((step, i) => ({
        picture: step.picture,
        label: `Step ${i}, ${stepText(step)}`,
        caption: stepText(step),
        data: { step: i },
        choose: () => {
          stop();
          go(i);
        },
      })));
      note.textContent = steps.length < 2
        ? "Both rows have the same code: there is nothing to walk."
        : `${plural(steps.length - 1, "step")}. The steps that change the picture least come first.`;
      go(0);
      say(note.textContent);
    });
  };
  addEventListener("themechange", () => steps.length && go(at));

  /** Two rows to begin with: the current one, and the next that has another label. */
  const pair = async (row) => {
    const { rows } = await get(`/api/rows?start=${Math.min(row, Math.max(0, model.data.n_rows - 24))}&count=24`);
    const mine = rows.find((one) => one.row === row)?.label;
    const other = rows.find((one) => one.row > row && one.label !== mine) ?? rows.find((one) => one.row !== row);
    return [row, other?.row ?? row];
  };

  body.append(
    el("div", { class: "walk" }, ends.a.node,
      el("figure", null, el("figcaption", null, el("strong", { text: "Step" }), " ", now.text), now.holder),
      el("figure", null, el("figcaption", null, el("strong", { text: "Changed by it" })), change.holder, legend()),
      ends.b.node),
    trouble,
    el("div", { class: "bar player" }, play, slider, open), note, film.grid,
  );
  return {
    enter: async ({ a, b }) => {
      if (a !== undefined && b !== undefined) {
        await load(Number(a), Number(b));
        return;
      }
      await attempt(trouble, async () => {
        const rows = await pair(a !== undefined ? Number(a) : (current.row ?? 0));
        app.set({ a: String(rows[0]), b: String(b ?? rows[1]) }, true);
      });
    },
    leave: stop,
    play: () => play.click(),
  };
}
