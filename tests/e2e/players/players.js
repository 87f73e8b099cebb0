// What the test page needs of the players, bundled by esbuild.
import { WebRTCPlayer } from "@eyevinn/webrtc-player";
import { WHEPClient } from "whip-whep/whep.js";
import { WHIPClient } from "whip-whep/whip.js";

Object.assign(window, { WebRTCPlayer, WHEPClient, WHIPClient });
