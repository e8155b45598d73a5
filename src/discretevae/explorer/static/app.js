// The page: which section is shown, what is current, keys, theme, and the server being gone.

import { get, watch } from "./api.js";
import { isDark, setModel } from "./draw.js";
import { button, count, el, say } from "./dom.js";
import * as store from "./store.js";
import * as bits from "./views/bits.js";
import * as clusters from "./views/clusters.js";
import * as code from "./views/code.js";
import * as neighbors from "./views/neighbors.js";
import * as samples from "./views/samples.js";
import * as training from "./views/training.js";
import * as walk from "./views/walk.js";
import { randomRow } from "./views/picker.js";

const VIEWS = { code, walk, bits, clusters, neighbors, samples, training };
const NAMES = Object.keys(VIEWS);
const { current } = store;
const byId = (id) => document.getElementById(id);
const mounted = {};
let view = null;

// storage may be switched off or full: the page then forgets, and works
const storage = {
  read: (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  write: (key, value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // nothing to do
    }
  },
};

/** The section and its parameters, from the address: #/walk?a=3&b=7&row=3. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: NAMES.includes(path) ? path : "code", parameters: Object.fromEntries(new URLSearchParams(query)) };
}

function write(name, parameters, replace = false) {
  const query = new URLSearchParams(parameters).toString();
  const hash = `#/${name}${query ? `?${query}` : ""}`;
  if (hash !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", hash);
  route();
}

function source() {
  if (current.source === "row") return { row: String(current.row) };
  return current.source === "code" ? { code: store.codeText(current.base) } : {};
}

export const app = {
  go: (name, parameters = {}) => write(name, { ...source(), ...parameters }),
  open: (row) => write("code", { row: String(row) }),
  openCode: (opened) => write("code", { code: store.codeText(opened) }),
  set: (parameters, replace = false) => {
    const { name, parameters: before } = address();
    if (parameters.row !== undefined) delete before.code;
    write(name, { ...before, ...parameters }, replace);
  },
  /** What is current no longer is a row: a reload cannot bring a drawing back. */
  leaveRow: () => history.replaceState(null, "", "#/code"),
};

function mount(name) {
  mounted[name] ??= VIEWS[name].mount(byId(`view-${name}`).querySelector(".body"), app) ?? {};
  return mounted[name];
}

async function route() {
  const { name, parameters } = address();
  if (view !== name) {
    if (view !== null) mounted[view].leave?.();
    view = name;
    for (const other of NAMES) byId(`view-${other}`).hidden = other !== name;
    for (const link of byId("nav").children) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${byId(`h-${name}`).textContent} · ${current.model.run} · discretevae explorer`;
    scrollTo(0, 0);
  }
  const here = mount(name);
  open(parameters);
  await here.enter?.(parameters);
}

let opening = null; // the row that is on its way

async function openRow(row) {
  if (opening === row) return;
  opening = row;
  await store.openRow(Number(row));
  if (opening === row) opening = null;
}

/** Makes current what the address names, unless it is already. */
function open({ row, code: text }) {
  if (row !== undefined) {
    if (current.source !== "row" || String(current.row) !== row) openRow(row);
    else opening = store.stay();
  } else if (text !== undefined) {
    const opened = store.parseCode(text);
    if (opened === null) say("The code in the address does not belong to this model.");
    else if (current.source !== "code" || store.keyOf(current.base) !== store.keyOf(opened)) store.openCode(opened);
  } else if (current.source === "") {
    openRow("0");
  }
}

function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  storage.write("discretevae-theme", theme);
  themeChanged();
}

function themeChanged() {
  byId("theme").setAttribute("aria-pressed", isDark());
  dispatchEvent(new Event("themechange"));
}

const KEYS = {
  r: () => app.open(randomRow()),
  e: store.reset,
  u: store.undo,
  U: store.redo,
  n: () => app.go("neighbors"),
  d: () => {
    app.go("code");
    mounted.code.draw();
  },
  p: () => mounted[view]?.play?.(),
  t: toggleTheme,
  "?": () => byId("shortcuts").showModal(),
};

function keydown(event) {
  if (byId("shortcuts").open || current.model === null || event.defaultPrevented) return;
  const typing = event.target.matches("select, textarea, input:not([type=checkbox]):not([type=range])");
  if (typing || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    if (event.shiftKey) store.redo();
    else store.undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || !byId("keys").checked) return;
  const section = NAMES[Number(event.key) - 1];
  const act = section && event.key !== " " ? () => app.go(section) : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** What of the run decides whether the server that is back is the one that was there. */
const signature = ({ run, latent, n_values: n, data }) => JSON.stringify([run, latent, n, data]);

function gone(isGone) {
  const banner = byId("gone");
  banner.hidden = !isGone;
  banner.replaceChildren();
  if (isGone) {
    banner.append(
      el("strong", { text: "The server does not answer." }),
      " If it was stopped, start it again: ",
      el("code", { text: `discretevae explore RUN --port ${location.port || 80}` }),
      ". This page looks for it every second and goes on by itself.",
    );
    return;
  }
  say("The server is back.");
  if (current.model === null) return;
  get("/api/model").then((model) => {
    if (signature(model) !== signature(current.model)) location.reload(); // another run, another page
  }, () => {});
}

function introduce(model) {
  const { data } = model;
  byId("run").replaceChildren(
    el("strong", { text: model.run }), " ",
    el("span", { class: "tag", text: model.latent }), " ",
    el("span", { class: "muted", text: `${data.name}, ${data.split}: ${count(data.n_rows)} rows` }),
  );
  const pick = model.image ? "Pick a row or draw one" : "Pick a row";
  const act = store.hasBits(model) ? "Flip a bit" : "Change a variable";
  byId("lead-code").textContent = `${pick}, and see the code that the encoder gives it. ${act}: the picture follows at once.`;
  if (store.hasBits(model)) return;
  byId("h-bits").textContent = "Variables";
  byId("nav").querySelector("[data-view=bits]").textContent = "Variables";
  byId("lead-bits").textContent = "What each variable does on average: the mean picture at each of its values. This model has no bits.";
}

async function boot() {
  byId("trouble").replaceChildren();
  let model;
  try {
    model = await get("/api/model");
  } catch (error) {
    byId("trouble").replaceChildren(el("p", { class: "error", role: "alert" }, el("span", { text: error.message }), " ", button("Try again", boot)));
    return;
  }
  current.model = model;
  setModel(model);
  introduce(model);
  mount("code");
  for (const link of byId("nav").children) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      app.go(link.dataset.view);
    });
  }
  addEventListener("popstate", route);
  await route();
  document.documentElement.dataset.ready = "";
}

watch(gone);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", () => byId("shortcuts").showModal());
byId("close").addEventListener("click", () => byId("shortcuts").close());
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the section
  byId("main").focus();
});
byId("keys").checked = storage.read("discretevae-keys") !== "off";
byId("keys").addEventListener("change", (event) => storage.write("discretevae-keys", event.target.checked ? "on" : "off"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themeChanged);
addEventListener("keydown", keydown);
themeChanged();
boot();
