-- What SQL does not search by is one value: docs/store.md has its bytes. Copied by layout_2.rs between this and the next script.
DROP INDEX nodes_dir;
DROP INDEX nodes_inode;
DROP INDEX nodes_group;
ALTER TABLE nodes RENAME TO nodes_1;

-- One row per path. The root is (0, ''); dir is the own id of a directory and the parent of what it contains.
CREATE TABLE nodes (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  dir INTEGER,
  inode INTEGER,
  link_group INTEGER,
  record BLOB NOT NULL,
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
