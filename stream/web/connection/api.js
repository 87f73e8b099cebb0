// The HTTP API: JSON in, JSON out, one clear line where it fails.

import { toast } from "../page/dom.js";

/** @import { Rejected } from "./schemas.js" */

/** A request that failed; `status` is 0 where no answer came. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status of HTTP
   * @param {Rejected[] | null} rejected the photos that were refused, where that is the failure
   */
  constructor(message, status, rejected = null) {
    super(message);
    this.status = status;
    this.rejected = rejected;
  }
}

/**
 * Ask the API; `body` is sent as JSON, or as a form where it is FormData.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{signal?: AbortSignal}} options
 * @returns {Promise<any>} the answer, null where it is no JSON
 * @throws {ApiError}
 */
export async function api(method, path, body, { signal } = {}) {
  return (await ask(method, path, body, signal)).answer;
}

/**
 * Read a list by pages: its rows, how many there are in all, and the address of the next ones.
 * @param {string} path
 * @returns {Promise<{rows: any[], total: number, next: string | null}>}
 * @throws {ApiError}
 */
export async function apiList(path) {
  const { answer, response } = await ask("GET", path);
  const next = response.headers.get("link")?.match(/<([^>]*)>; rel="next"/)?.[1];
  return {
    rows: answer,
    total: Number(response.headers.get("x-total-count")),
    next: next === undefined ? null : new URL(next, response.url).href,
  };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {AbortSignal} [signal]
 */
async function ask(method, path, body, signal) {
  let response;
  try {
    response = await fetch(path, { method, signal, ...contentOf(body) });
  } catch {
    throw new ApiError("the service does not answer", 0);
  }
  const kind = response.headers.get("content-type") ?? "";
  const isJson = response.status !== 204 && kind.startsWith("application/json");
  const answer = isJson ? await response.json() : null;
  if (response.status === 401) {
    window.dispatchEvent(new CustomEvent("facewire:signed-out"));
  }
  if (!response.ok) {
    const reason = reasonOf(answer) ?? `the service answered ${response.status}`;
    throw new ApiError(reason, response.status, answer?.rejected);
  }
  return { answer, response };
}

/**
 * @param {unknown} body
 * @returns {RequestInit}
 */
function contentOf(body) {
  if (body === undefined || body instanceof FormData) {
    return { body };
  }
  return { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
}

/** @param {{error?: string, rejected?: Rejected[]} | null} answer */
function reasonOf(answer) {
  return answer?.error ?? answer?.rejected?.map((each) => `${each.image}: ${each.detail}`).join("; ");
}

/**
 * Wait for what the page asks by itself and say why it failed. A lost service and a missing token
 * are shown by the page already, and everything is read anew after.
 * @param {Promise<unknown>} asked
 */
export async function attempt(asked) {
  try {
    await asked;
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    if (error.status !== 0 && error.status !== 401) {
      toast(error.message, "bad");
    }
  }
}

/** @param {string} part of an address */
export function encode(part) {
  return encodeURIComponent(part);
}
