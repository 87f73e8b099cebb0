// Naming a face in the video.

import { ApiError, api, encode } from "../connection/api.js";
import { ask } from "../page/dialogs.js";
import { byId, toast } from "../page/dom.js";
import { squareAround } from "./geometry.js";

/** @import { Event, Identity, Track } from "../connection/schemas.js" */
/** @import { Box, Size } from "./geometry.js" */

/** @typedef {{camera: string, track: Track, size: Size}} Picked a face, and the size of its frame */

/**
 * Ask who a track is and enroll it; resolves to the identity, or null.
 * @param {Picked} picked
 * @param {HTMLVideoElement} video
 */
export async function askName({ camera, track, size }, video) {
  drawFace(byId("name-face", HTMLCanvasElement), video, track.box, size);
  byId("name-title").textContent = track.name ? `Not ${track.name}?` : "Who is this?";
  byId("name-hint").textContent = track.name
    ? "Enter the right name: this face is added to that person."
    : "The name appears from the next frame on.";
  return askAndSay((name, force) => nameTrack(camera, track.track_id, name, force));
}

/**
 * Ask who an unknown face of a past event was; the service enrolls the stored crop.
 * @param {Event} event
 */
export async function askNameOfEvent(event) {
  const crop = await loadImage(`api/events/${event.id}/crop.jpg`);
  const canvas = byId("name-face", HTMLCanvasElement);
  canvas.getContext("2d")?.drawImage(crop, 0, 0, canvas.width, canvas.height);
  byId("name-title").textContent = "Who was this?";
  byId("name-hint").textContent = "The stored crop is added to that person.";
  return askAndSay((name, force) => api("POST", `api/events/${event.id}/name`, { name: name.trim(), force }));
}

/**
 * @param {string} camera
 * @param {string} trackId
 * @param {string} name
 * @param {boolean} force enroll a face that would be rejected
 * @returns {Promise<Identity>}
 */
export function nameTrack(camera, trackId, name, force = false) {
  return api("POST", `api/cameras/${encode(camera)}/tracks/${trackId}/name`, { name: name.trim(), force });
}

/**
 * @param {(name: string, force: boolean) => Promise<Identity>} submit
 * @returns {Promise<Identity | null>}
 */
async function askAndSay(submit) {
  const input = byId("name-input", HTMLInputElement);
  input.value = "";
  const force = byId("name-force", HTMLInputElement);
  const anyway = byId("name-anyway");
  force.checked = false;
  anyway.hidden = true;
  const identity = /** @type {Identity | null} */ (await ask("name", async () => {
    try {
      return await submit(input.value, force.checked);
    } catch (error) {
      // Rejected like a photo: the person may know better, such as in the case of twins.
      anyway.hidden = !(error instanceof ApiError) || error.status !== 422;
      throw error;
    }
  }));
  if (identity) {
    toast(`Saved as ${identity.name}.`);
  }
  return identity;
}

/** @param {string} url */
async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/**
 * Draw a face of the video, which may be a smaller rendition of the frame.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLVideoElement} video
 * @param {Box} box in pixels of the frame
 * @param {Size} size of the frame
 */
export function drawFace(canvas, video, box, size) {
  const context = canvas.getContext("2d");
  context?.clearRect(0, 0, canvas.width, canvas.height);
  if (video.videoWidth) {
    const { left, top, side } = squareAround(box, video.videoWidth / size.width);
    context?.drawImage(video, left, top, side, side, 0, 0, canvas.width, canvas.height);
  }
}
