//! The client's side of LMTP (RFC 2033), as far as delivering a message needs it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Delivers `message` (lines end in CRLF) to `users`; returns when the server has taken responsibility for each.
pub fn deliver(port: u16, users: &[&str], message: &[u8]) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("LMTP answers");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut say = |line: &[u8], wanted: char, answers_expected: usize| {
        (&stream).write_all(line).expect("LMTP listens");
        for _ in 0..answers_expected {
            let answer = answer(&mut answers);
            assert!(answer.starts_with(wanted), "LMTP answers {answer:?} to {:?}", line.escape_ascii().to_string());
        }
    };
    say(b"", '2', 1);
    say(b"LHLO test.invalid\r\n", '2', 1);
    say(b"MAIL FROM:<sender@test.invalid>\r\n", '2', 1);
    for user in users {
        say(format!("RCPT TO:<{user}>\r\n").as_bytes(), '2', 1);
    }
    say(b"DATA\r\n", '3', 1);
    let mut data = Vec::new();
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        data.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        data.extend_from_slice(line);
    }
    data.extend_from_slice(b".\r\n");
    say(&data, '2', users.len());
    say(b"QUIT\r\n", '2', 1);
}

/// One answer, its last line if it has several.
fn answer(answers: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        let len = answers.read_line(&mut line).expect("LMTP answers in time");
        assert!(len > 0, "LMTP has hung up");
        if line.as_bytes().get(3) != Some(&b'-') {
            return line;
        }
    }
}
