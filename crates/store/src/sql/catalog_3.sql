-- What the rows of a directory come to; NULLs: they vouch for less than a seal says. Gone as soon as one of them is written.
CREATE TABLE seals (
  dir INTEGER NOT NULL PRIMARY KEY,
  directories INTEGER NOT NULL,
  key BLOB,
  leaves BLOB
) STRICT;
