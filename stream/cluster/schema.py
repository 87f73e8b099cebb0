"""The tables of a cluster in PostgreSQL, beside those of the shared event log.

`assignments` of the event log says which machine owns a camera, and numbers every change of that.
`placements` says which one is to run it; its `generation` is that of the assignment which was made
with it, in one transaction: what the former machine sees from then on is refused.

A version is written once below and never edited: a change is a new entry in `MIGRATIONS`.
"""

PART = "cluster"
CHANNEL = "facewire_cluster"

# `one_exit`: who was in view of a machine that died gets the exit from the camera's next owner. Of
# two machines that write the same person's exit, the first one counts. A stay may go on after its
# exit, if the same track is seen again.
MIGRATIONS = (
    """
    CREATE TABLE wanted_cameras (
        name TEXT PRIMARY KEY,
        settings JSONB NOT NULL,
        site TEXT,
        position BIGINT GENERATED ALWAYS AS IDENTITY,
        revision BIGINT NOT NULL DEFAULT 1
    );
    CREATE TABLE cluster_nodes (
        node TEXT PRIMARY KEY,
        number INTEGER NOT NULL REFERENCES nodes (node),
        site TEXT,
        cores DOUBLE PRECISION NOT NULL,
        load DOUBLE PRECISION NOT NULL,
        since DOUBLE PRECISION NOT NULL,
        seen DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE placements (
        camera TEXT PRIMARY KEY
            REFERENCES wanted_cameras (name) ON UPDATE CASCADE ON DELETE CASCADE,
        node TEXT NOT NULL REFERENCES cluster_nodes (node),
        generation BIGINT NOT NULL REFERENCES assignments (generation),
        placed_at DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE coordinator (
        is_only BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_only),
        holder TEXT NOT NULL,
        node TEXT NOT NULL,
        seen DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX events_by_camera ON events (camera, at) WHERE run IS NOT NULL;
    CREATE INDEX events_by_stay ON events (run, track_number) WHERE run IS NOT NULL;
    CREATE FUNCTION one_exit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT 1 FROM facewire.events AS other WHERE other.kind = 'exit'
                AND other.run = new.run AND other.track_number = new.track_number
                AND other.node <> new.node AND NOT EXISTS (
                    SELECT 1 FROM facewire.events AS again WHERE again.run = new.run
                    AND again.track_number = new.track_number AND again.kind <> 'exit'
                    AND again.at > other.at AND again.at <= new.at
                )
            ) THEN
                RETURN NULL;
            END IF;
            RETURN new;
        END $$;
    CREATE TRIGGER a_one_exit BEFORE INSERT ON events
        FOR EACH ROW WHEN (new.kind = 'exit') EXECUTE FUNCTION one_exit();
    CREATE FUNCTION announce_cluster() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('facewire_cluster', '');
            RETURN NULL;
        END $$;
    CREATE TRIGGER announced AFTER INSERT OR UPDATE OR DELETE ON wanted_cameras
        FOR EACH STATEMENT EXECUTE FUNCTION announce_cluster();
    CREATE TRIGGER announced AFTER INSERT OR UPDATE OR DELETE ON placements
        FOR EACH STATEMENT EXECUTE FUNCTION announce_cluster();
    CREATE TRIGGER announced AFTER INSERT OR DELETE ON cluster_nodes
        FOR EACH STATEMENT EXECUTE FUNCTION announce_cluster();
    """,
)
