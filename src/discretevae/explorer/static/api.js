// The server: requests, answers that came too late, and a server that is gone for a while.

const POLL = 1000; // milliseconds between two looks for a server that is gone

export class AnswerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const watchers = new Set();
let waiting = null;

/** Calls `watcher(true)` when the server stops answering and `watcher(false)` when it is back. */
export function watch(watcher) {
  watchers.add(watcher);
}

async function once(method, path, body, signal) {
  const response = await fetch(path, {
    method,
    signal,
    cache: "no-store",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // said below, with the status
  }
  if (!response.ok || answer === null) {
    const said = typeof answer?.error === "string" ? answer.error : null;
    throw new AnswerError(said ?? `The server answered ${path} with status ${response.status}.`, response.status);
  }
  return answer;
}

function untilBack(signal) {
  if (waiting === null) {
    let resolve;
    const promise = new Promise((done) => (resolve = done));
    waiting = { promise };
    for (const watcher of watchers) watcher(true);
    const look = async () => {
      try {
        await once("GET", "/api/ping");
      } catch {
        setTimeout(look, POLL);
        return;
      }
      waiting = null;
      for (const watcher of watchers) watcher(false);
      resolve();
    };
    setTimeout(look, POLL);
  }
  const { promise } = waiting;
  return new Promise((resolve, reject) => {
    const abort = () => reject(new DOMException("outdated", "AbortError"));
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    promise.then(resolve);
  });
}

/** An answer as JSON. Where the server is gone, waits until it is back and asks again. */
async function request(method, path, body, signal) {
  for (;;) {
    try {
      return await once(method, path, body, signal);
    } catch (error) {
      if (error instanceof AnswerError || error.name === "AbortError") throw error;
      await untilBack(signal);
    }
  }
}

export const get = (path, signal) => request("GET", path, undefined, signal);
export const post = (path, body, signal) => request("POST", path, body, signal);

/** One thing that is asked again and again: a new question aborts the one before it. */
export class Latest {
  #controller = null;

  async run(work) {
    this.cancel();
    const controller = (this.#controller = new AbortController());
    const answer = await work(controller.signal);
    if (controller.signal.aborted) throw new DOMException("outdated", "AbortError");
    return answer;
  }

  cancel() {
    this.#controller?.abort();
    this.#controller = null;
  }
}

/** At most `width` of the given works at a time, in the order given. */
export function queue(width) {
  const todo = [];
  let running = 0;
  const next = async () => {
    if (running >= width || todo.length === 0) return;
    running += 1;
    const { work, resolve, reject } = todo.shift();
    try {
      resolve(await work());
    } catch (error) {
      reject(error);
    } finally {
      running -= 1;
      next();
    }
  };
  return (work) =>
    new Promise((resolve, reject) => {
      todo.push({ work, resolve, reject });
      next();
    });
}
