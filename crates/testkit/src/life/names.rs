//! Names that a life gives: mostly from a small pool, so that they come back as something else, and some that hurt.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::Random;

/// A name; `hostile` allows everything a file system allows.
pub fn name(random: &mut Random, hostile: bool) -> OsString {
    match random.below(100) {
        0..45 => OsString::from(format!("f{}", random.below(40))),
        45..60 => OsString::from(format!("index{}.html", random.below(12))),
        60..75 => OsString::from(format!("{:x}", random.bits())),
        _ if hostile => hostile_name(random),
        _ => OsString::from(format!("d{}", random.below(15))),
    }
}

fn hostile_name(random: &mut Random) -> OsString {
    const FIXED: &[&[u8]] = &[
        b"new\nline",
        b"\x1b[2J\x1b]0;title\x07",
        b"\xff\xfe\xfd",
        b"half \xc3",
        b" leading and trailing ",
        b"quote\"'`$(id)",
        b"back\\slash\\",
        b"-rf",
        b"--delete",
        b".hidden",
        b"...",
        b".fulmar",
        b".~tmp~",
        b"*?[a]{b,c}",
        b"#0a",
        b"\\#012",
        b"a\tb\rc\x01\x7f",
        "\u{202e}gnp.exe".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
    ];
    if random.chance(15) {
        // The longest name there is, of any bytes but the two forbidden ones.
        let bytes = (0..255).map(|_| *random.pick(b"\x02azAZ09\xc3\xa9\xff .-\n")).collect();
        return OsString::from_vec(bytes);
    }
    let at = random.below(FIXED.len());
    OsStr::from_bytes(FIXED[at]).to_os_string()
}
