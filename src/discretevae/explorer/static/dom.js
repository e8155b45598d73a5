// Building the document. Text from data enters through textContent alone, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined) continue;
    if (value === false && !name.startsWith("aria-")) continue;
    if (name.startsWith("aria-")) node.setAttribute(name, value); // "false" is a value there
    else if (name === "text") node.textContent = value;
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element: el("button", {type: "button", onclick: f}, "Undo"). */
export function el(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

export function button(text, onclick, properties) {
  return el("button", { type: "button", class: "button", text, onclick, ...properties });
}

/** A label around a control, the control after its name. */
export function field(name, control, ...after) {
  return el("label", { class: "field" }, el("span", { text: name }), control, ...after);
}

export function option(value, text) {
  return el("option", { value, text });
}

/** A number for people: a true minus sign, and no more digits than asked. */
export function figure(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && size < 0.5 * 10 ** -digits
      ? size.toExponential(1)
      : size.toLocaleString("en-US", { maximumFractionDigits: digits, minimumFractionDigits: Number.isInteger(size) ? 0 : digits });
  return value < 0 ? `−${text}` : text;
}

export const count = (n) => n.toLocaleString("en-US");

/** "1 bit", "2 bits". */
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** Says something to screen readers, once people stop acting for a moment. */
let saying = 0;
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => {
    document.getElementById("status").textContent = text;
  }, 250);
}

/** Arrow keys within a group of buttons; the group is a single stop of the Tab key. */
export function roving(group, selector = "button") {
  const items = () => [...group.querySelectorAll(selector)].filter((item) => !item.disabled);
  const choose = (item) => {
    for (const other of group.querySelectorAll(selector)) other.tabIndex = other === item ? 0 : -1;
  };
  group.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) choose(item);
  });
  group.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const all = items();
    const at = all.indexOf(event.target.closest(selector));
    if (at < 0) return;
    const to = target(all, at, event.key);
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
    to.focus();
  });
  return () => {
    const all = items();
    const chosen = all.find((item) => item.matches("[aria-checked=true],[aria-current=true]"));
    choose(chosen ?? all.find((item) => item.tabIndex === 0) ?? all[0]);
  };
}

function target(all, at, key) {
  if (key === "ArrowRight") return all[at + 1];
  if (key === "ArrowLeft") return all[at - 1];
  if (key === "Home") return all[0];
  if (key === "End") return all[all.length - 1];
  if (key !== "ArrowDown" && key !== "ArrowUp") return undefined;
  // the nearest one of the next line, by where things stand: lines wrap with the width
  const here = all[at].getBoundingClientRect();
  const sign = key === "ArrowDown" ? 1 : -1;
  let best;
  let least = Infinity;
  for (const item of all) {
    const box = item.getBoundingClientRect();
    const down = sign * (box.top - here.top);
    if (down < here.height / 2) continue;
    const cost = down * 1000 + Math.abs(box.left - here.left);
    if (cost < least) [best, least] = [item, cost];
  }
  return best;
}

/** Runs a view's work; what goes wrong is said in one line in `where`, with a way to try again. */
export async function attempt(where, work) {
  where.replaceChildren();
  where.closest("section")?.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    where.replaceChildren(
      el("p", { class: "error", role: "alert" }, el("span", { text: error.message }), " ",
        button("Try again", () => attempt(where, work), { class: "button small" })),
    );
    return undefined;
  } finally {
    where.closest("section")?.removeAttribute("aria-busy");
  }
}
