//! What sort of thing a path names.

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device node.
    CharDevice,
    /// A block device node.
    BlockDevice,
    /// A socket: counted, never replicated (it means nothing without the process that bound it).
    Socket,
}

impl Kind {
    /// The number stored in databases and sent on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Symlink => 3,
            Self::Fifo => 4,
            Self::CharDevice => 5,
            Self::BlockDevice => 6,
            Self::Socket => 7,
        }
    }

    /// The reverse of [`Kind::code`]; `None` for a number this version does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::File, Self::Directory, Self::Symlink, Self::Fifo, Self::CharDevice, Self::BlockDevice, Self::Socket]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// The word used in messages to people.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        }
    }
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}
