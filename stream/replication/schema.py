"""The tables of the shared event log in PostgreSQL, and their versions.

Rows have the columns of `stream.events.replica.PARTS`, and: `node`, the machine that numbered the
row; `generation`, of its camera's ownership then; `server_at`, when it was seen by the server's
clock; `changed_by`, the machine of the last change; `revision`, which grows with every change. One
writer at a time holds the advisory lock, so that revisions are committed in their order.

A version is written once below and never edited: a change is a new entry in `MIGRATIONS`.
"""

PART = "events"
CHANNEL = "facewire_events"
LOCK = 0x46574532
"""Key of the advisory lock that one writer of all machines holds; "FWE2"."""

# `is_owner`: the camera was this machine's, and no other machine's at the moment of the event. So a
# machine that was frozen while another took its camera over writes nothing of the time since, but
# what it saw before. Generation 0 is the past of a machine, before it shared its log.
MIGRATIONS = (
    """
    CREATE FUNCTION server_now() RETURNS double precision LANGUAGE sql VOLATILE
        AS 'SELECT extract(epoch FROM clock_timestamp())::double precision';
    CREATE SEQUENCE event_revisions;
    CREATE TABLE event_log (log_id TEXT NOT NULL);
    INSERT INTO event_log VALUES (gen_random_uuid()::text);
    CREATE TABLE nodes (
        node INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (node <= 1023),
        name TEXT NOT NULL,
        session TEXT NOT NULL,
        seen DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE assignments (
        generation BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        camera TEXT NOT NULL,
        node INTEGER NOT NULL REFERENCES nodes (node),
        began DOUBLE PRECISION NOT NULL,
        ended DOUBLE PRECISION
    );
    CREATE UNIQUE INDEX assignments_open ON assignments (camera) WHERE ended IS NULL;
    CREATE INDEX assignments_by_camera ON assignments (camera, began);
    CREATE TABLE events (
        id BIGINT PRIMARY KEY,
        kind TEXT NOT NULL,
        camera TEXT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        run TEXT,
        track_number BIGINT,
        identity_id TEXT,
        name TEXT,
        similarity DOUBLE PRECISION,
        was_known BIGINT,
        previous_id TEXT,
        previous_name TEXT,
        detail TEXT NOT NULL,
        crop BYTEA,
        crop_sha256 TEXT,
        quality TEXT,
        embedding BYTEA,
        model_id TEXT,
        node INTEGER NOT NULL,
        generation BIGINT NOT NULL,
        server_at DOUBLE PRECISION NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL
    );
    ALTER TABLE events ALTER COLUMN crop SET STORAGE EXTERNAL;
    CREATE INDEX events_by_revision ON events (revision);
    CREATE INDEX events_by_time ON events (at);
    CREATE TABLE sightings (
        id BIGINT PRIMARY KEY,
        run TEXT NOT NULL,
        track_number BIGINT NOT NULL,
        stay BIGINT NOT NULL,
        event_id BIGINT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
        camera TEXT NOT NULL,
        began DOUBLE PRECISION NOT NULL,
        ended DOUBLE PRECISION NOT NULL,
        is_over BIGINT NOT NULL,
        model_id TEXT NOT NULL,
        template BYTEA NOT NULL,
        exemplars BYTEA NOT NULL,
        n_good BIGINT NOT NULL,
        good_s DOUBLE PRECISION NOT NULL,
        face_px DOUBLE PRECISION NOT NULL,
        quality TEXT NOT NULL,
        crop BYTEA NOT NULL,
        node INTEGER NOT NULL,
        generation BIGINT NOT NULL,
        server_at DOUBLE PRECISION NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        UNIQUE (run, track_number)
    );
    ALTER TABLE sightings ALTER COLUMN crop SET STORAGE EXTERNAL;
    CREATE INDEX sightings_by_revision ON sightings (revision);
    CREATE INDEX sightings_by_event ON sightings (event_id);
    CREATE TABLE erased (
        part TEXT NOT NULL,
        id BIGINT NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (part, id)
    );
    CREATE INDEX erased_by_revision ON erased (revision);
    CREATE FUNCTION is_owner(
        of_node INTEGER, by_node INTEGER, in_generation BIGINT, moment DOUBLE PRECISION
    ) RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT in_generation = 0 OR EXISTS (
            SELECT 1 FROM facewire.assignments AS own
            WHERE own.generation = in_generation AND own.node IN (of_node, by_node)
            AND NOT EXISTS (
                SELECT 1 FROM facewire.assignments AS other
                WHERE other.camera = own.camera AND other.node <> own.node
                AND other.began <= moment
                AND (other.ended IS NULL OR moment < other.ended)
            )
        ) $$;
    CREATE FUNCTION check_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM facewire.erased WHERE part = 'events' AND id = new.id)
                OR NOT facewire.is_owner(
                    new.node, new.changed_by, new.generation, new.server_at
                )
            THEN
                RETURN NULL;
            END IF;
            RETURN new;
        END $$;
    CREATE FUNCTION check_sighting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM facewire.erased WHERE part = 'sightings' AND id = new.id)
                OR NOT facewire.is_owner(
                    new.node, new.changed_by, new.generation, new.server_at
                )
                OR NOT EXISTS (SELECT 1 FROM facewire.events WHERE id = new.event_id)
            THEN
                RETURN NULL;
            END IF;
            RETURN new;
        END $$;
    CREATE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            new.revision := nextval('facewire.event_revisions');
            RETURN new;
        END $$;
    CREATE FUNCTION announce_events() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('facewire_events', '');
            RETURN NULL;
        END $$;
    CREATE TRIGGER a_checked BEFORE INSERT ON events
        FOR EACH ROW EXECUTE FUNCTION check_event();
    CREATE TRIGGER a_checked BEFORE INSERT ON sightings
        FOR EACH ROW EXECUTE FUNCTION check_sighting();
    CREATE TRIGGER b_counted BEFORE INSERT OR UPDATE ON events
        FOR EACH ROW EXECUTE FUNCTION count_revision();
    CREATE TRIGGER b_counted BEFORE INSERT OR UPDATE ON sightings
        FOR EACH ROW EXECUTE FUNCTION count_revision();
    CREATE TRIGGER b_counted BEFORE INSERT OR UPDATE ON erased
        FOR EACH ROW EXECUTE FUNCTION count_revision();
    CREATE TRIGGER c_announced AFTER INSERT OR UPDATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION announce_events();
    CREATE TRIGGER c_announced AFTER INSERT OR UPDATE ON sightings
        FOR EACH STATEMENT EXECUTE FUNCTION announce_events();
    CREATE TRIGGER c_announced AFTER INSERT OR UPDATE ON erased
        FOR EACH STATEMENT EXECUTE FUNCTION announce_events();
    """,
    "ALTER TABLE events ADD COLUMN zones TEXT",
    """
    CREATE TABLE machines (
        node INTEGER PRIMARY KEY REFERENCES nodes (node) ON DELETE CASCADE,
        url TEXT NOT NULL,
        version TEXT NOT NULL,
        state TEXT NOT NULL
    );
    ALTER TABLE event_log ADD COLUMN secret TEXT NOT NULL DEFAULT '';
    UPDATE event_log SET secret = gen_random_uuid()::text || gen_random_uuid()::text;
    """,
    "ALTER TABLE machines ADD COLUMN said DOUBLE PRECISION NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN n_shots BIGINT NOT NULL DEFAULT 0",
    """
    ALTER TABLE nodes ADD COLUMN has_visitors BOOLEAN NOT NULL DEFAULT false;
    CREATE TABLE visitors (
        number BIGINT PRIMARY KEY,
        visitor_id TEXT NOT NULL,
        first_seen DOUBLE PRECISION NOT NULL,
        last_seen DOUBLE PRECISION NOT NULL,
        visit_count BIGINT NOT NULL,
        is_ignored BIGINT NOT NULL,
        root BIGINT,
        merged_into BIGINT,
        merged_at BIGINT,
        kept BYTEA,
        kept_model TEXT,
        kept_poor BIGINT NOT NULL,
        merged_time DOUBLE PRECISION,
        merged_similarity DOUBLE PRECISION,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        UNIQUE (visitor_id)
    );
    CREATE TABLE visitors_apart (
        one BIGINT NOT NULL,
        other BIGINT NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (one, other)
    );
    CREATE TABLE visitor_proposals (
        one BIGINT NOT NULL,
        other BIGINT NOT NULL,
        id BIGINT NOT NULL,
        similarity DOUBLE PRECISION NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (one, other)
    );
    CREATE TABLE visitor_sightings (
        id BIGINT PRIMARY KEY,
        visitor_id TEXT,
        ended DOUBLE PRECISION NOT NULL,
        n_shots BIGINT NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL
    );
    CREATE TABLE visitor_events (
        id BIGINT PRIMARY KEY,
        visitor_id TEXT,
        visit_count BIGINT,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL
    );
    CREATE TABLE visitors_erased (
        part TEXT NOT NULL,
        one BIGINT NOT NULL,
        other BIGINT NOT NULL,
        changed_by INTEGER NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (part, one, other)
    );
    CREATE TABLE visitor_numbers (next BIGINT NOT NULL);
    INSERT INTO visitor_numbers VALUES (1);
    CREATE TABLE visitor_requests (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        node INTEGER NOT NULL REFERENCES nodes (node),
        asked DOUBLE PRECISION NOT NULL DEFAULT server_now(),
        request TEXT NOT NULL,
        generation BIGINT,
        answer TEXT
    );
    CREATE FUNCTION forget_visitor_of() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_TABLE_NAME = 'events' THEN
                DELETE FROM facewire.visitor_events WHERE id = old.id;
            ELSE
                DELETE FROM facewire.visitor_sightings WHERE id = old.id;
            END IF;
            RETURN NULL;
        END $$;
    CREATE TRIGGER d_forgotten AFTER DELETE ON events
        FOR EACH ROW EXECUTE FUNCTION forget_visitor_of();
    CREATE TRIGGER d_forgotten AFTER DELETE ON sightings
        FOR EACH ROW EXECUTE FUNCTION forget_visitor_of();
    CREATE TRIGGER c_announced AFTER INSERT OR UPDATE ON visitor_requests
        FOR EACH STATEMENT EXECUTE FUNCTION announce_events();
    """
    + "".join(
        f"""
    CREATE INDEX {table}_by_revision ON {table} (revision);
    CREATE TRIGGER b_counted BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION count_revision();
    CREATE TRIGGER c_announced AFTER INSERT OR UPDATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION announce_events();
    """
        for table in (
            *("visitors", "visitors_apart", "visitor_proposals"),
            *("visitor_sightings", "visitor_events", "visitors_erased"),
        )
    ),
)
