// Every call of @exadel/compreface-js-sdk against a service, printed as JSON:
// PORT KEY ADDRESS-OF-PHOTOS DIR FOLDER, where FOLDER has the package in its node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [port, key, photosUrl, directory, folder] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
console.log = () => {}; // the package writes to it
const { CompreFace } = await import(
  pathToFileURL(`${folder}/node_modules/@exadel/compreface-js-sdk/index.js`)
);
require("axios").defaults.proxy = false;

process.chdir(directory);
const obama = "./obama.jpg"; // a path is what begins with a dot
const biden = readFileSync("biden.jpg").toString("base64");
const plugins = "age,gender,landmarks,calculator,mask";
const full = {
  limit: 0, det_prob_threshold: 0.8, prediction_count: 2, face_plugins: plugins, status: "true",
};
const plain = new CompreFace("http://127.0.0.1", port, {});
const recognition = plain.initFaceRecognitionService(key);
const detection = plain.initFaceDetectionService(key);
const verification = plain.initFaceVerificationService(key);
// Each call changes the address of its object.
const subjects = () => recognition.getSubjects();
const faces = () => recognition.getFaceCollection();

const answers = {};
async function call(name, promise) {
  try {
    answers[name] = await promise;
  } catch (error) {
    if (!error.response) throw error;
    answers[name] = error.response.data;
  }
}

await call("subjects.add", subjects().add("Zoë #1"));
await call("subjects.add again", subjects().add("Zoë #1"));
await call("subjects.update", subjects().rename(encodeURIComponent("zoë #1"), "Ada"));
await call("subjects.list", subjects().list());
await call("faces.add a path", faces().add(obama, "Barack Obama", {}));
await call("faces.add bytes", faces().add(biden, "Joe Biden", {}));
await call("faces.add an address",
  faces().add(`${photosUrl}/grace_hopper.jpg`, "Grace %26 Hopper", {}));
await call("faces.list", faces().list());
const ids = answers["faces.list"].faces.map((each) => each.image_id);
await call("recognize", recognition.recognize(obama, {}));
await call("recognize in full", recognition.recognize(biden, full));
await call("recognize the first", recognition.recognize(`${photosUrl}/biden.jpg`, { limit: 1 }));
await call("faces.verify", faces().verify(obama, ids[0], {}));
await call("faces.verify in full", faces().verify(biden, ids[0], full));
await call("detect", detection.detect(obama, {}));
await call("detect in full", detection.detect(biden, full));
await call("verify", verification.verify(obama, "./biden.jpg", {}));
await call("verify in full", verification.verify(obama, obama, full));
await call("verify base64", verification.verify(biden, biden, {}));
await call("verify addresses",
  verification.verify(`${photosUrl}/obama.jpg`, `${photosUrl}/biden.jpg`, {}));
const reversed = [...key].reverse().join("");
await call("a wrong key", plain.initFaceDetectionService(reversed).detect(obama, {}));
await call("faces.delete", faces().delete(ids[0]));
await call("faces.delete again", faces().delete(ids[0]));
await call("faces.delete several", faces().delete_multiple_images([ids[0], ids[2]]));
await call("faces.delete_all", faces().delete_all_subject("joe biden"));
await call("faces.delete all of them", faces().delete_all());
await call("subjects.delete again", subjects().delete("Ada"));
await call("subjects.delete_all", subjects().deleteAll());
process.stdout.write(JSON.stringify(answers));
