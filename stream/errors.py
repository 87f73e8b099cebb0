"""Exceptions of `stream`.

StreamError
├── EnrolmentError          no usable face or photo to enroll from, or an invalid name
├── ConfigError             a key, value or flag of the configuration is wrong
│   └── CameraExistsError   a camera with that name already exists
├── SourceError             a camera delivers no frames
│   ├── SourceUnavailable   it cannot be opened or stopped answering; a retry may help
│   └── SourceEnded         a file was played to its end
├── SignalingError          a browser's or player's offer cannot be answered
│   └── BusyError           too many viewers, pages or uploads at the moment
├── SfuError                the SFU is away or refuses
│   └── SfuAwayError        it does not answer in time, or closed the connection
├── UnknownCameraError      there is no camera with that name
├── CameraStoreError        the file of cameras changed while running cannot be read or written
│   └── CameraStoreFullError its disk is full
├── UnknownTrackError       the face has left the frame
├── WorkerError             a thread of the service failed; it is restarted
├── UnknownEventError       there is no event with that number
├── UnknownRuleError        there is no rule with that id
├── TooManyDevicesError     as many devices are notified as may be
├── RuleStoreError          the file of rules or devices cannot be read or written
│   └── RuleStoreFullError  its disk is full
├── ClusterError            Ray, or the cluster's database, cannot be used
├── BackupError             a backup cannot be written, read or restored
└── EventLogError           the file of past events cannot be opened, read or written
    ├── EventLogBusyError   another program has it locked
    └── EventLogFullError   its disk is full
"""


class StreamError(Exception):
    """Any expected failure of this package; the message is one line for the user."""


class ConfigError(StreamError):
    """Raised when a key, value or flag of the configuration is wrong."""


class CameraExistsError(ConfigError):
    """Raised when a camera with that name already exists.

    Attributes:
        camera: the name.
    """

    def __init__(self, camera: str) -> None:
        super().__init__(f"a camera named {camera!r} is already there: choose another name")
        self.camera = camera


class SourceError(StreamError):
    """Raised when a camera delivers no frames."""


class SourceUnavailable(SourceError):  # noqa: N818 - a state more than an error
    """Raised when a camera cannot be opened or stopped answering; a retry may help.

    Attributes:
        retry_after_s: minimum seconds before the next try, as after a wrong password.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceEnded(SourceError):  # noqa: N818
    """Raised when a file was played to its end."""


class SignalingError(StreamError):
    """Raised when the offer of a browser or player cannot be answered."""


class BusyError(SignalingError):
    """Raised when there are too many viewers, pages or uploads at the moment."""


class SfuError(StreamError):
    """Raised when the SFU is away or refuses; the message follows its name."""


class SfuAwayError(SfuError):
    """Raised when the SFU does not answer in time, or closed the connection."""


class MachineError(StreamError):
    """Raised when another machine, which runs a camera or assigns visitors, does not answer."""


class ClusterError(StreamError):
    """Raised when Ray, or the database of a cluster, cannot be used."""


class UnknownCameraError(StreamError):
    """Raised when there is no camera with the requested name.

    Attributes:
        camera: the requested name.
    """

    def __init__(self, camera: str) -> None:
        super().__init__(f"there is no camera named {camera!r}")
        self.camera = camera


class CameraStoreError(StreamError):
    """Raised when the file of cameras that were changed while running cannot be read or written."""


class CameraStoreFullError(CameraStoreError):
    """Raised when the disk has no room for the file of cameras that were changed while running."""


class UnknownTrackError(StreamError):
    """Raised when a track to be named has left the frame.

    Attributes:
        track_id: the requested track.
    """

    def __init__(self, track_id: str) -> None:
        super().__init__("the face has left the picture: click it while it is shown")
        self.track_id = track_id


class EnrolmentError(StreamError):
    """Raised when there is no usable face or photo to enroll from, or the name is invalid."""


class WorkerError(StreamError):
    """Raised in place of a result when a thread failed; a retry after some seconds helps."""


class UnknownEventError(StreamError):
    """Raised when there is no event with the requested number."""

    def __init__(self, event_id: int) -> None:
        super().__init__(f"there is no event {event_id}: it may have been erased")


class UnknownRuleError(StreamError):
    """Raised when there is no rule with an id.

    Attributes:
        rule_id: the missing one.
    """

    def __init__(self, rule_id: str) -> None:
        self.rule_id = rule_id
        super().__init__(f"there is no rule with the id {rule_id[:100]}: list them first")


class TooManyDevicesError(StreamError):
    """Raised when as many devices are notified as may be."""


class RuleStoreError(StreamError):
    """Raised when the file of rules or of devices cannot be read or written."""


class RuleStoreFullError(RuleStoreError):
    """Raised when the disk of either is full."""


class BackupError(StreamError):
    """Raised when a backup cannot be written, or is damaged, newer, or of another model."""


class VisitorError(StreamError):
    """Raised when visitors cannot be changed as requested."""


class UnknownVisitorError(VisitorError):
    """Raised when there is no visitor with the requested id.

    Attributes:
        visitor_id: the id.
    """

    def __init__(self, visitor_id: str) -> None:
        self.visitor_id = visitor_id
        super().__init__(f"there is no visitor {visitor_id}: it may have been named or erased")


class EventLogError(StreamError):
    """Raised when the file of past events cannot be opened, read or written.

    Attributes:
        may_pass: whether a later retry may help.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class EventLogBusyError(EventLogError):
    """Raised when another program locks the file of past events for too long."""

    def __init__(self, message: str) -> None:
        super().__init__(message, may_pass=True)


class EventLogFullError(EventLogError):
    """Raised when the disk of the file of past events is full."""

    def __init__(self, message: str) -> None:
        super().__init__(message, may_pass=True)
