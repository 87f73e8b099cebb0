// Giving a face in the picture its name.

import { api, encode } from "../connection/api.js";
import { ask } from "../page/dialogs.js";
import { byId, toast } from "../page/dom.js";

const MARGIN = 0.35; // of the box's size around it, so that hair and chin are seen

/** Ask who a track is and enrol it; resolves to the identity, or null. */
export async function askName(camera, track, size, video) {
  drawFace(byId("name-face"), video, track.box, size);
  byId("name-title").textContent = track.name ? `Not ${track.name}?` : "Who is this?";
  byId("name-hint").textContent = track.name
    ? "Type who it really is: this face is added to that person."
    : "The name is on the video from the next picture on.";
  return askAndSay((name, force) => nameTrack(camera, track.track_id, name, force));
}

/** Ask who an unknown face of the timeline was; the service enrolls the crop that it kept. */
export async function askNameOfEvent(event) {
  const crop = await loadImage(`api/events/${event.id}/crop.jpg`);
  const canvas = byId("name-face");
  canvas.getContext("2d").drawImage(crop, 0, 0, canvas.width, canvas.height);
  byId("name-title").textContent = "Who was this?";
  byId("name-hint").textContent = "The crop that was kept is added to that person.";
  return askAndSay((name, force) => api("POST", `api/events/${event.id}/name`, { name: name.trim(), force }));
}

export function nameTrack(camera, trackId, name, force = false) {
  return api("POST", `api/cameras/${encode(camera)}/tracks/${trackId}/name`, { name: name.trim(), force });
}

async function askAndSay(submit) {
  const input = byId("name-input");
  input.value = "";
  const force = byId("name-force");
  const anyway = force.parentElement;
  force.checked = false;
  anyway.hidden = true;
  const identity = await ask("name", async () => {
    try {
      return await submit(input.value, force.checked);
    } catch (error) {
      // Refused as a photo would be: whoever sees the face may know better, or have a twin.
      anyway.hidden = error.status !== 422;
      throw error;
    }
  });
  if (identity) {
    toast(`This is ${identity.name}.`);
  }
  return identity;
}

async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/** Draw a face out of the picture; `box` is in pixels of a frame of `size`. */
export function drawFace(canvas, video, [x1, y1, x2, y2], size) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!video.videoWidth) {
    return;
  }
  // The video may be a smaller rendition of the frame that the box is measured in.
  const scale = video.videoWidth / size.width;
  const side = Math.max(x2 - x1, y2 - y1) * (1 + 2 * MARGIN) * scale;
  const left = ((x1 + x2) / 2) * scale - side / 2;
  const top = ((y1 + y2) / 2) * scale - side / 2;
  context.drawImage(video, left, top, side, side, 0, 0, canvas.width, canvas.height);
}
