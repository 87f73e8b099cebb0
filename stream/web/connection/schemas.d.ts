// What the service says, as types of the page: the part of stream/schemas/ that the page reads.

/** Corners by name, 0 to 1 of the frame. */
export type Zones = Record<string, [number, number][]>;

export interface CameraSettings {
  url: string;
  rtsp_transport: string;
  loop: boolean;
  target_fps: number | null;
  min_face_px: number | null;
  rotation: number;
  region: [number, number, number, number] | null;
  zones: Zones;
  open_timeout_s: number;
  read_timeout_s: number;
  frozen_after_s: number;
  pixel_aspect: string;
  deinterlace: string;
  verify_tls: boolean;
  enabled: boolean;
}

export interface Camera {
  name: string;
  url: string;
  state: string;
  since_s: number;
  reason: string;
  width: number;
  height: number;
  fps_in: number;
  fps_out: number;
  dropped: number;
  encoder_dropped: number;
  viewers: number;
  reconnects: number;
  latency_p95_ms: number;
  is_pushed: boolean;
  suggested_rotation: 0 | 90 | 180 | 270 | null;
  machine: string;
  settings: CameraSettings;
}

export interface Machine {
  name: string;
  is_this: boolean;
  state: "ok" | "away" | "unreachable";
  seen_s: number;
  version: string;
  cameras: number;
  problems: string[];
}

export interface Track {
  track_id: string;
  box: [number, number, number, number];
  state: "known" | "unknown" | "undecided";
  name: string | null;
  identity_id: string | null;
  similarity: number | null;
  age_s: number;
  zones: string[];
}

export interface Tracks {
  camera: string;
  seq: number;
  width: number;
  height: number;
  tracks: Track[];
}

export interface Event {
  id: number;
  kind: string;
  camera: string;
  at: string;
  track_id: string | null;
  identity_id: string | null;
  name: string | null;
  similarity: number | null;
  previous_name: string | null;
  detail: string;
  has_crop: boolean;
  visitor_id: string | null;
  visitor: string | null;
  visit_count: number | null;
  zones: string[];
}

export interface Events {
  events: Event[];
  cursor: number | null;
}

export interface Identity {
  identity_id: string;
  name: string;
}

export interface Person extends Identity {
  n_photos: number;
  created_at: number;
  notes: string;
}

export interface Photo {
  photo_id: number;
  quality: number;
  model_id: string;
  created_at: number;
  has_crop: boolean;
}

export interface WholePerson extends Identity {
  n_events: number;
  photos: Photo[];
}

export interface Rejected {
  image: string;
  reason: string;
  detail: string;
  photo: number;
  faces: ListedFace[];
  size: number[] | null;
  face: number | null;
}

export interface ListedFace {
  index: number;
  box: number[];
  score: number;
  quality: number;
  fault: string | null;
  crop: string;
}

export interface Enrol {
  identity: Identity | null;
  enrolled: {
    image: string;
    name: string;
    quality: number;
    photo: number;
    photo_id: number | null;
  }[];
  rejected: Rejected[];
}

export interface Visit {
  id: number;
  name: string | null;
  identity_id: string | null;
  visitor_id: string | null;
  visitor: string | null;
  cameras: string[];
  began: string;
  ended: string | null;
  duration_s: number;
  is_exact: boolean;
  crop_event_id: number | null;
  zones: string[];
}

export interface Visits {
  visits: Visit[];
  cursor: number | null;
}

export interface Present {
  name: string;
  identity_id: string;
  since: string;
}

export interface CameraPresence {
  camera: string;
  count: number;
  people: Present[];
  n_unknown: number;
}

export interface Presence {
  at: string;
  count: number;
  cameras: CameraPresence[];
}
