DROP TABLE nodes_1;

CREATE UNIQUE INDEX nodes_dir ON nodes (dir) WHERE dir IS NOT NULL;
CREATE INDEX nodes_inode ON nodes (inode) WHERE inode IS NOT NULL;
CREATE INDEX nodes_group ON nodes (link_group) WHERE link_group IS NOT NULL;
