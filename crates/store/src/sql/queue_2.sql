-- Verifications that repeat themselves: the round under way or the last, by depth (1 quick, 2 deep).
CREATE TABLE rounds (
  depth INTEGER PRIMARY KEY CHECK (depth IN (1, 2)),
  began INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  over INTEGER NOT NULL CHECK (over IN (0, 1)),
  upto BLOB,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  entries_all INTEGER NOT NULL,
  bytes_all INTEGER NOT NULL
) STRICT;

-- What came of them for each replica: 1 the last quick one, 2 the last deep round, 3 the deep round under way.
CREATE TABLE verified (
  replica BLOB NOT NULL,
  round INTEGER NOT NULL CHECK (round IN (1, 2, 3)),
  began INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  took INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  busy INTEGER NOT NULL,
  unread INTEGER NOT NULL,
  ungrouped INTEGER NOT NULL,
  missed INTEGER NOT NULL,
  failed TEXT,
  PRIMARY KEY (replica, round)
) STRICT, WITHOUT ROWID;

CREATE TABLE differences (
  replica BLOB NOT NULL,
  round INTEGER NOT NULL,
  aspect TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (replica, round, aspect)
) STRICT, WITHOUT ROWID;
