ALTER TABLE intents RENAME TO intents_1;

-- What is about to become visible, in order. Nothing of it is searched by, so all of the record is in its bytes.
CREATE TABLE intents (
  ordinal INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  source BLOB,
  record BLOB NOT NULL
) STRICT;
