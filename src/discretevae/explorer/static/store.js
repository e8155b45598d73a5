// The current code: where it came from, what the encoder said of it, what was changed by hand.

import { get, Latest, post } from "./api.js";
import { figure, plural } from "./dom.js";

const [KEPT, KEPT_VALUES] = [400, 2 ** 24]; // pictures of codes that were seen already, their values together
const ANSWER_VALUES = 2 ** 22; // of all pictures of one answer
const UNDO = 500;

export const current = {
  model: null,
  source: "", // "row", "drawn", "code"
  row: null,
  name: null, // of the row, with its label
  input: null,
  base: null, // the code that the encoder gave, or that was opened
  probabilities: null,
  figures: null,
  code: null,
  picture: null, // of the code above, null while it is on its way
  reconstruction: null, // of the base
};

const events = new EventTarget();
const emit = (name) => events.dispatchEvent(new Event(name));

/** "source": something else is current; "code": its code changed; "picture": the code's picture is there; "error". */
export const on = (name, listener) => events.addEventListener(name, listener);

export const keyOf = (code) => code.join(",");
const cache = new Map();
const encoding = new Latest();
const decoding = new Latest();
let past = [];
let future = [];
export let problem = "";

function remember(code, picture) {
  cache.set(keyOf(code), picture);
  if (cache.size > Math.min(KEPT, KEPT_VALUES / current.model.n_values)) cache.delete(cache.keys().next().value);
  return picture;
}

/** As many pictures as wanted, fewer where they are large. */
export const fitting = (n) => Math.max(1, Math.min(n, Math.floor(ANSWER_VALUES / current.model.n_values)));

export const known = (code) => cache.get(keyOf(code));

/** The picture of a code; each is asked for once. */
export async function decode(code, signal) {
  return known(code) ?? remember(code, (await post("/api/decode", { code }, signal)).picture);
}

function fail(error) {
  if (error.name === "AbortError") return;
  problem = error.message;
  emit("error");
}

async function redraw() {
  const code = current.code;
  problem = "";
  decoding.cancel();
  current.picture = known(code) ?? null;
  emit("code");
  if (current.picture === null) {
    try {
      const picture = await decoding.run((signal) => decode(code, signal));
      if (current.code !== code) return; // the answer to an outdated question
      current.picture = picture;
    } catch (error) {
      fail(error);
      return;
    }
  }
  emit("picture");
}

/** What a row is called: by its id, its number in the data, and its place among the rows that are kept. */
export function rowName({ row, id, number, label }) {
  const place = id === number ? `row ${row}${id === row ? "" : ` (number ${id} in the data)`}` : `${id} (row ${row})`;
  return label === null ? place : `${place}, label ${label}`;
}

/** The name of a row that is only a number as yet. */
export const nameOfRow = (row, signal) =>
  get(`/api/rows?start=${row}&count=1`, signal).then(
    ({ rows }) => (rows.length > 0 ? rowName(rows[0]) : `row ${row}`), () => `row ${row}`);

async function encode(body, source, row = null) {
  problem = "";
  let answer;
  try {
    answer = await encoding.run(async (signal) => {
      const name = row === null ? null : nameOfRow(row, signal);
      return { ...(await post("/api/encode", body, signal)), name: await name };
    });
  } catch (error) {
    fail(error);
    return false;
  }
  decoding.cancel();
  [past, future] = [[], []];
  remember(answer.code, answer.reconstruction);
  Object.assign(current, {
    source,
    row,
    name: answer.name,
    input: answer.input,
    base: answer.code,
    probabilities: answer.probabilities,
    figures: { ...answer.figures, isSurrogate: answer.is_surrogate === true },
    code: answer.code,
    reconstruction: answer.reconstruction,
    picture: answer.reconstruction,
  });
  emit("source");
  emit("code");
  emit("picture");
  return true;
}

export const openRow = (row) => encode({ row }, "row", row);
/** What is current stays so: an answer that is on its way would come too late. */
export const stay = () => encoding.cancel() ?? null;
export const openPixels = (pixels) => encode({ pixels }, "drawn");

/** Makes a code current that no row gave: one that was drawn from the prior, or stands in the address. */
export async function openCode(code) {
  encoding.cancel();
  [past, future] = [[], []];
  Object.assign(current, {
    source: "code", row: null, name: null, input: null, base: code, probabilities: null,
    figures: null, code, picture: null, reconstruction: null,
  });
  emit("source");
  await redraw();
  current.reconstruction ??= known(code) ?? null;
}

/** Another code. `fresh` false joins the change to the one before it, so that a gesture is one step of undo. */
export function setCode(code, fresh = true) {
  if (fresh) {
    past.push(current.code);
    if (past.length > UNDO) past.shift();
    future = [];
  }
  current.code = code;
  redraw();
}

export function setVariable(index, value, fresh = true) {
  const code = [...current.code];
  code[index] = value;
  setCode(code, fresh);
}

function travel(from, to) {
  if (from.length === 0) return;
  to.push(current.code);
  current.code = from.pop();
  redraw();
}

export const undo = () => travel(past, future);
export const redo = () => travel(future, past);
export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

export function reset() {
  if (changed().length > 0) setCode([...current.base]);
}

/** The variables in which the current code differs from the one it began with. */
export const changed = () =>
  (current.code ?? []).flatMap((value, i) => (value === current.base[i] ? [] : [i]));

const LEAST = 2 ** -24; // what single precision can tell from 0 beside 1

/** ln q(code | input) in words: how likely the encoder finds the current code. */
export function logProbability() {
  let isBound = false;
  const sum = current.code.reduce((before, value, i) => {
    const p = current.probabilities[i];
    if (typeof p === "object" && !Array.isArray(p)) {
      const distance = (value - p.mean) / p.std;
      return before - 0.5 * distance * distance - Math.log(p.std) - 0.5 * Math.log(2 * Math.PI);
    }
    const chosen = Array.isArray(p) ? p[value] : value === 1 ? p : 1 - p;
    isBound ||= chosen < LEAST;
    return before + Math.log(Math.max(chosen, LEAST));
  }, 0);
  return `${isBound ? "< " : ""}${nats(sum)}`;
}

export const allBits = (model) => model.variables.every((v) => v.kind === "bit");
export const hasBits = (model) => model.variables.some((v) => v.kind === "bit");

/** A code as text: digits of bits side by side, other numbers with underscores between them. */
export function codeText(code) {
  if (allBits(current.model)) return code.join("");
  return code.map((v, i) => (current.model.variables[i].kind === "real" ? v.toFixed(4) : v)).join("_");
}

/** The code of such a text; null where it is none of this model. */
export function parseCode(text) {
  const { variables } = current.model;
  const parts = (allBits(current.model) ? [...text] : text.split("_")).map((part) => (part === "" ? NaN : Number(part)));
  const fits = parts.length === variables.length && parts.every((value, i) =>
    variables[i].kind === "real"
      ? Number.isFinite(value)
      : Number.isInteger(value) && value >= 0 && value < (variables[i].n_categories ?? 2));
  return fits ? parts : null;
}

/** Words for a screen reader: "drawn from code 0110…". */
export function describe(code) {
  const text = codeText(code);
  return `drawn from code ${text.length > 64 ? `${text.slice(0, 64)}…` : text}`;
}

/** The variables of a place of a grid; without one, all. */
export const variablesOf = (place) => {
  const { grid, variables } = current.model;
  const size = grid ? variables.length / (grid[0] * grid[1]) : variables.length;
  return variables.slice(place * size, (place + 1) * size);
};

/** The place of a variable of a grid. */
export const placeOf = (index) => Math.floor(index / variablesOf(0).length);

/** What a place is called: "place 0:3", its row and its column, as on the command line. */
export const placeName = (place) => `place ${Math.floor(place / current.model.grid[1])}:${place % current.model.grid[1]}`;

/** What a variable is called: "bit 3", "category 0", "number 2". */
export const nameOf = (variable) =>
  `${{ bit: "bit", category: "category", real: "number" }[variable.kind]} ${variable.index}`;

export function sourceText() {
  if (current.source === "row") return current.name;
  return current.source === "drawn" ? "your drawing" : "a code without a row";
}

export const nats = (value) => `${figure(value)} nats`;
export { plural };
