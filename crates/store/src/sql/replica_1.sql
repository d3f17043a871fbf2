-- At most one row: which queue was followed, and how far.
CREATE TABLE position (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  queue BLOB NOT NULL CHECK (length(queue) = 16),
  seq INTEGER NOT NULL
) STRICT;

-- What is about to become visible, in order; the columns after source are those of nodes.
CREATE TABLE intents (
  ordinal INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  source BLOB,
  kind INTEGER NOT NULL,
  inode INTEGER,
  links INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  size INTEGER NOT NULL,
  mtime INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  node INTEGER,
  xattrs BLOB,
  hash BLOB,
  link_group INTEGER,
  settled INTEGER NOT NULL
) STRICT;

CREATE TABLE extras (
  path BLOB PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  stored_as BLOB NOT NULL,
  moved INTEGER NOT NULL,
  why INTEGER NOT NULL
) STRICT;
