// The page's side of the worker: promises instead of messages.
import WORKER from "./worker.js?source";

const NO_WORKER = "This page may not start a worker, so the model cannot run here.";

/**
 * Start the worker; nothing is loaded before this is called.
 *
 * Returns { ask, on, stop }:
 *   ask(task, arguments, transfer)   a promise of the task's result; rejects with an Error whose message can be shown
 *   on(event, listener)              hears "step", "knn", "ended", "failed" and "progress"; returns what stops it
 *   stop()                           ends the worker and gives its memory back; what was asked is rejected
 */
export function startLive() {
  let worker;
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  try {
    worker = new Worker(url);
  } catch {
    throw new Error(NO_WORKER);
  }
  const waiting = new Map();
  const listeners = new Map();
  let lastId = 0;
  const fail = (message) => {
    for (const { reject } of waiting.values()) reject(new Error(message));
    waiting.clear();
  };
  worker.onerror = (event) => { event.preventDefault?.(); fail(event.message || NO_WORKER); };
  worker.onmessage = ({ data }) => {
    if (data.event) return (listeners.get(data.event) ?? []).forEach((listener) => listener(data));
    const { resolve, reject } = waiting.get(data.id) ?? {};
    waiting.delete(data.id);
    if (data.error === undefined) resolve?.(data.result);
    else reject?.(new Error(data.error));
  };
  return {
    ask: (task, given = {}, transfer = []) => new Promise((resolve, reject) => {
      waiting.set(++lastId, { resolve, reject });
      worker.postMessage({ id: lastId, task, ...given }, transfer);
    }),
    on: (event, listener) => {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
      return () => listeners.set(event, listeners.get(event).filter((one) => one !== listener));
    },
    stop: () => { worker.terminate(); URL.revokeObjectURL(url); fail("stopped"); },
  };
}
