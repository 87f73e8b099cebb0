// The HTTP API: JSON in, JSON out, one clear line where it fails.

import { toast } from "../page/dom.js";

/** `rejected`: the photos that were refused, with their reasons, where that is the failure. */
export class ApiError extends Error {
  constructor(message, status, rejected = null) {
    super(message);
    this.status = status;
    this.rejected = rejected;
  }
}

/** Ask the API; `body` is sent as JSON, or as a form where it is FormData. */
export async function api(method, path, body, { signal } = {}) {
  return (await ask(method, path, body, signal)).answer;
}

/** Read a list by pages: its rows, how many there are in all, and the address of the next ones. */
export async function apiList(path) {
  const { answer, response } = await ask("GET", path);
  const next = response.headers.get("link")?.match(/<([^>]*)>; rel="next"/)?.[1];
  return {
    rows: answer,
    total: Number(response.headers.get("x-total-count")),
    next: next === undefined ? null : new URL(next, response.url).href,
  };
}

async function ask(method, path, body, signal) {
  const options = { method, headers: {}, signal };
  if (body instanceof FormData) {
    options.body = body;
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
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
 * Wait for what the page asks by itself and say why it failed. A lost service and a missing token
 * are shown by the page already, and everything is read anew after.
 */
export async function told(asked) {
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

function reasonOf(answer) {
  return answer?.error ?? answer?.rejected?.map((each) => `${each.image}: ${each.detail}`).join("; ");
}

export function encode(part) {
  return encodeURIComponent(part);
}
