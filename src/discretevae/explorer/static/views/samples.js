// New pictures from the prior.

import { Latest, post } from "../api.js";
import { attempt, button, el, field, figure, say } from "../dom.js";
import { current, describe, fitting } from "../store.js";
import { tiles } from "../tiles.js";

const SAMPLES = 60;
const REST = 50; // milliseconds that the slider rests before samples are asked for
const [COLDEST, HOTTEST] = [0.05, 3];

export function mount(body, app) {
  const asking = new Latest();
  const trouble = el("div");
  const drawn = tiles("Samples", { id: "drawn", class: "tiles large" });
  const said = el("output", { class: "value" });
  const slider = el("input", { type: "range", id: "temperature", min: COLDEST, max: HOTTEST, step: 0.05, value: 1, oninput: () => {
    clearTimeout(moving);
    moving = setTimeout(load, REST);
  } });
  let moving = 0;
  const seed = el("input", { type: "number", id: "seed", min: 0, max: 2 ** 31 - 1, step: 1, value: 0, inputmode: "numeric",
    onchange: () => seed.value !== "" && seed.reportValidity() && load() });
  let loaded = false;

  const load = () => {
    const temperature = Number(slider.value);
    said.textContent = figure(temperature);
    slider.setAttribute("aria-valuetext", `${figure(temperature)}${temperature === 1 ? ", the prior itself" : ""}`);
    return attempt(trouble, async () => {
      const answer = await asking.run((signal) => post("/api/sample", { n: fitting(SAMPLES), temperature, seed: Number(seed.value) }, signal));
      loaded = true;
      drawn.draw(answer.pictures.map((picture, i) => ({
        picture,
        label: `Sample ${i}, ${describe(answer.codes[i])}`,
        data: { sample: i },
        choose: () => app.openCode(answer.codes[i]),
      })));
      drawn.grid.dataset.drawn = `${figure(temperature)}/${seed.value}`;
      say(`${answer.pictures.length} samples at temperature ${figure(temperature)}.`);
    });
  };
  const again = button("Draw again", () => {
    seed.value = (Number(seed.value) + 1) % 2 ** 31;
    load();
  }, { id: "again", class: "button primary" });
  body.append(
    el("div", { class: "bar" }, el("label", { class: "field wide" }, el("span", { text: "Temperature" }), slider, said),
      button("Prior", () => {
        slider.value = 1;
        load();
      }, { class: "button small", title: "Temperature 1 is the prior itself" }),
      el("span", { class: "spacer" }), field("Seed", seed), again),
    trouble, drawn.grid,
  );
  return { enter: () => (loaded ? undefined : load()) };
}
