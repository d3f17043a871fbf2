-- One row per path. The root is (0, ''); dir is the own id of a directory and the parent of what it contains.
CREATE TABLE nodes (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  dir INTEGER,
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
  settled INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX nodes_dir ON nodes (dir) WHERE dir IS NOT NULL;
CREATE INDEX nodes_inode ON nodes (inode) WHERE inode IS NOT NULL;
CREATE INDEX nodes_group ON nodes (link_group) WHERE link_group IS NOT NULL;
