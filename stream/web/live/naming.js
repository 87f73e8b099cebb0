// Giving a face in the picture its name.

import { ApiError, api, encode } from "../connection/api.js";
import { ask } from "../page/dialogs.js";
import { byId, toast } from "../page/dom.js";
import { squareAround } from "./geometry.js";

/** @import { Event, Identity, Track } from "../connection/schemas.js" */
/** @import { Box, Size } from "./geometry.js" */

/** @typedef {{camera: string, track: Track, size: Size}} Picked a face, in a frame of a size */

/**
 * Ask who a track is and enrol it; resolves to the identity, or null.
 * @param {Picked} picked
 * @param {HTMLVideoElement} video
 */
export async function askName({ camera, track, size }, video) {
  drawFace(byId("name-face", HTMLCanvasElement), video, track.box, size);
  byId("name-title").textContent = track.name ? `Not ${track.name}?` : "Who is this?";
  byId("name-hint").textContent = track.name
    ? "Type who it really is: this face is added to that person."
    : "The name is on the video from the next picture on.";
  return askAndSay((name, force) => nameTrack(camera, track.track_id, name, force));
}

/**
 * Ask who an unknown face of the timeline was; the service enrolls the crop that it kept.
 * @param {Event} event
 */
export async function askNameOfEvent(event) {
  const crop = await loadImage(`api/events/${event.id}/crop.jpg`);
  const canvas = byId("name-face", HTMLCanvasElement);
  canvas.getContext("2d")?.drawImage(crop, 0, 0, canvas.width, canvas.height);
  byId("name-title").textContent = "Who was this?";
  byId("name-hint").textContent = "The crop that was kept is added to that person.";
  return askAndSay((name, force) => api("POST", `api/events/${event.id}/name`, { name: name.trim(), force }));
}

/**
 * @param {string} camera
 * @param {string} trackId
 * @param {string} name
 * @param {boolean} force to enroll a face that would be refused
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
      // Refused as a photo would be: whoever sees the face may know better, or have a twin.
      anyway.hidden = !(error instanceof ApiError) || error.status !== 422;
      throw error;
    }
  }));
  if (identity) {
    toast(`This is ${identity.name}.`);
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
 * Draw a face out of the picture, which may be a smaller rendition of the frame.
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
