-- One row: who this queue is, the highest position ever given, the highest position ever pruned.
CREATE TABLE state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  queue BLOB NOT NULL CHECK (length(queue) = 16),
  last INTEGER NOT NULL,
  pruned INTEGER NOT NULL
) STRICT;

-- seq is the row id: taking, reading for a replica and pruning are walks along the table itself.
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY,
  path BLOB NOT NULL UNIQUE,
  scope INTEGER NOT NULL,
  first_seen INTEGER NOT NULL
) STRICT;

CREATE TABLE replicas (
  replica BLOB PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  cursor INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE outstanding (
  replica BLOB NOT NULL,
  path BLOB NOT NULL,
  work INTEGER NOT NULL,
  reason INTEGER,
  errno INTEGER NOT NULL,
  since INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  retry INTEGER NOT NULL,
  after BLOB,
  PRIMARY KEY (replica, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX outstanding_due ON outstanding (replica, retry);

-- 10 is HeldReason::Approval.
CREATE INDEX outstanding_approval ON outstanding (replica) WHERE reason = 10;

-- What is gone, and what is not there yet: the second decides when the first may go.
CREATE INDEX outstanding_gone ON outstanding (replica, path) WHERE work IN (5, 6);
CREATE INDEX outstanding_unfinished ON outstanding (replica, path) WHERE work IN (2, 4);

CREATE TABLE meta (
  key TEXT PRIMARY KEY NOT NULL,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
