// Requests to the HTTP API, in JSON.

import { toast } from "../page/dom.js";

/** @import { Rejected } from "./schemas.js" */

/** A failed request; `status` is 0 if there was no response. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status of HTTP
   * @param {Rejected[] | null} rejected the rejected photos, if that is the failure
   */
  constructor(message, status, rejected = null) {
    super(message);
    this.status = status;
    this.rejected = rejected;
  }
}

/**
 * Send a request to the API; `body` is sent as JSON, or as a form if it is FormData.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{signal?: AbortSignal}} options
 * @returns {Promise<any>} the response, null if it is not JSON
 * @throws {ApiError}
 */
export async function api(method, path, body, { signal } = {}) {
  return (await ask(method, path, body, signal)).answer;
}

/**
 * Read a page of a list: its rows, the total number of rows, and the URL of the next page.
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
 * Await a request and show a toast if it fails. A lost service and a missing token are shown
 * elsewhere on the page, and all data is reloaded afterwards.
 * @param {Promise<unknown>} asked
 */
export async function attempt(asked) {
  try {
    await asked;
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    if (!isShownElsewhere(error)) {
      toast(error.message, "bad");
    }
  }
}

/**
 * Whether the page shows a failure by its state: a lost service or a missing token.
 * @param {ApiError} error
 */
export function isShownElsewhere({ status }) {
  return status === 0 || status === 401;
}

/** @param {string} part of a path */
export function encode(part) {
  return encodeURIComponent(part);
}
