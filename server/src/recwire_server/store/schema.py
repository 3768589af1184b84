"""The tables of the SQLite store, version 2.

Vectors are float32 little-endian blobs of the data directory's dimension, before the vector space. Times are
nanoseconds since 1970. `texts` is a JSON list of strings; `attributes` a JSON object whose values are a string, a
number, a boolean or a list of strings. A deleted item keeps its row, for the histories that hold it; its texts are
emptied.

Version 1 had no users.revision, items.write_time_ns and items.text_hash; UPGRADES makes a file of it one of version 2.
"""

SCHEMA_VERSION = 2

TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,      -- schema_version, model_name, model_version, dim, catalog_revision; user_id_key, the
                                -- fingerprint of a key, where each user_id is a pseudonym that is made with it
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    item_id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,  -- of the catalogue, when the row was written
    deleted INTEGER NOT NULL,
    title TEXT NOT NULL,
    texts TEXT NOT NULL,
    attributes TEXT NOT NULL,
    publish_time_ns INTEGER,
    expire_time_ns INTEGER,
    from_client INTEGER NOT NULL, -- whether the client sent the vector
    vector BLOB NOT NULL,
    write_time_ns INTEGER NOT NULL DEFAULT 0, -- when the row was written; 0: before version 2
    text_hash BLOB              -- of the texts as they are embedded; NULL: none, or written before version 2
) STRICT;
CREATE INDEX items_by_revision ON items (revision);
CREATE INDEX items_by_text ON items (text_hash) WHERE text_hash IS NOT NULL;

CREATE TABLE events (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, also after a user is erased
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    item_id TEXT,
    text TEXT,
    vector BLOB,                -- the text's embedding, or the client's vector
    type INTEGER NOT NULL,
    weight REAL,
    event_time_ns INTEGER NOT NULL,
    record_time_ns INTEGER NOT NULL,
    recommendation_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (user_id, event_id);

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    event_count INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0 -- of the last change
) STRICT, WITHOUT ROWID;

CREATE TABLE generations (
    generation INTEGER PRIMARY KEY,
    mean BLOB,                  -- NULL: plain
    mean_item_count INTEGER NOT NULL
) STRICT;
"""

# By the version that they start from.
UPGRADES = {
    1: """
ALTER TABLE items ADD COLUMN write_time_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN text_hash BLOB;
CREATE INDEX items_by_text ON items (text_hash) WHERE text_hash IS NOT NULL;
ALTER TABLE users ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
UPDATE users SET revision = (SELECT MAX(revision) FROM events WHERE events.user_id = users.user_id);
""",
}
