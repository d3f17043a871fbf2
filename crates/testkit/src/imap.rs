//! A small IMAP client (RFC 3501, with MOVE and UIDPLUS as Dovecot has them): enough to use a mailbox and to read all of
//! it back.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A session of one user.
pub struct Imap {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    tag: u32,
}

/// One untagged response: its text with `{n}` in the place of literals, and the literals.
#[derive(Clone, Debug)]
pub struct Response {
    /// The line without `* `.
    pub text: String,
    /// What stood at each `{n}`.
    pub literals: Vec<Vec<u8>>,
}

/// What a client sees of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique and stable within its mailbox.
    pub uid: u32,
    /// Flags and keywords, `\Recent` aside: that one belongs to a session.
    pub flags: BTreeSet<String>,
    /// When it arrived.
    pub internal_date: String,
    /// Every byte.
    pub body: Vec<u8>,
}

/// What a client sees of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name, as LIST gives it.
    pub name: String,
    /// Changes when UIDs lose their meaning, which they must not.
    pub uid_validity: u32,
    /// All messages, by UID.
    pub messages: Vec<Message>,
}

impl Imap {
    /// Connects and logs in.
    pub fn login(port: u16, user: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("IMAP answers");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let answers = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut imap = Self { stream, answers, tag: 0 };
        let greeting = imap.line().text;
        assert!(greeting.starts_with("OK"), "IMAP greets with {greeting:?}");
        imap.command(&format!("LOGIN {user} secret"));
        imap
    }

    /// Sends a command, returns the untagged responses; panics unless it ends in OK.
    pub fn command(&mut self, command: &str) -> Vec<Response> {
        self.send(command);
        self.finish(command)
    }

    /// SELECT.
    pub fn select(&mut self, mailbox: &str) -> Vec<Response> {
        self.command(&format!("SELECT {}", quoted(mailbox)))
    }

    /// APPEND with flags such as `\Seen $Label1`.
    pub fn append(&mut self, mailbox: &str, flags: &str, message: &[u8]) {
        let command = format!("APPEND {} ({flags}) {{{}}}", quoted(mailbox), message.len());
        self.send(&command);
        let go_on = self.line().text;
        assert!(go_on.starts_with("+ "), "{command}: {go_on}");
        self.stream.write_all(message).and_then(|()| self.stream.write_all(b"\r\n")).expect("IMAP listens");
        self.finish(&command);
    }

    /// UID STORE; `change` is such as `+FLAGS (\Deleted)`.
    pub fn store(&mut self, uids: &str, change: &str) {
        self.command(&format!("UID STORE {uids} {change}"));
    }

    /// UID COPY.
    pub fn copy(&mut self, uids: &str, mailbox: &str) {
        self.command(&format!("UID COPY {uids} {}", quoted(mailbox)));
    }

    /// UID MOVE.
    pub fn move_to(&mut self, uids: &str, mailbox: &str) {
        self.command(&format!("UID MOVE {uids} {}", quoted(mailbox)));
    }

    /// Marks as deleted and expunges.
    pub fn expunge(&mut self, uids: &str) {
        self.store(uids, "+FLAGS (\\Deleted)");
        self.command("EXPUNGE");
    }

    /// CREATE. Dovecot says that a mailbox already exists, too, when a delivery lists the folders between its two steps.
    pub fn create(&mut self, mailbox: &str) {
        self.send(&format!("CREATE {}", quoted(mailbox)));
        let (_, done) = self.responses();
        assert!(done.starts_with("OK") || done.contains("[ALREADYEXISTS]"), "CREATE {mailbox}: {done}");
    }

    /// RENAME.
    pub fn rename(&mut self, mailbox: &str, to: &str) {
        self.command(&format!("RENAME {} {}", quoted(mailbox), quoted(to)));
    }

    /// DELETE.
    pub fn delete(&mut self, mailbox: &str) {
        self.command(&format!("DELETE {}", quoted(mailbox)));
    }

    /// SUBSCRIBE.
    pub fn subscribe(&mut self, mailbox: &str) {
        self.command(&format!("SUBSCRIBE {}", quoted(mailbox)));
    }

    /// Names of all mailboxes, sorted.
    pub fn list(&mut self) -> Vec<String> {
        names(&self.command("LIST \"\" *"), "LIST ")
    }

    /// Names of all subscribed mailboxes, sorted.
    pub fn subscribed(&mut self) -> Vec<String> {
        names(&self.command("LSUB \"\" *"), "LSUB ")
    }

    /// UIDs in the selected mailbox, ascending.
    pub fn uids(&mut self) -> Vec<u32> {
        let responses = self.command("UID SEARCH ALL");
        let line = responses.iter().find_map(|response| response.text.strip_prefix("SEARCH")).unwrap_or_default();
        line.split_whitespace().map(|word| word.parse().expect("a UID")).collect()
    }

    /// Everything that there is in `mailbox`, read without changing it.
    pub fn read_all(&mut self, mailbox: &str) -> Mailbox {
        let examined = self.command(&format!("EXAMINE {}", quoted(mailbox)));
        let validity = examined
            .iter()
            .find_map(|response| after(&response.text, "UIDVALIDITY "))
            .expect("a mailbox has a UIDVALIDITY");
        let responses = self.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])");
        let mut messages =
            responses.iter().filter(|response| response.text.contains(" FETCH ")).map(message).collect::<Vec<_>>();
        messages.sort_by_key(|message| message.uid);
        Mailbox { name: mailbox.to_owned(), uid_validity: validity.parse().expect("a number"), messages }
    }

    /// Every mailbox of the user that holds messages, with everything in it, and the names of those subscribed.
    pub fn read_everything(&mut self) -> (Vec<Mailbox>, Vec<String>) {
        let mut listed = self.command("LIST \"\" *");
        // A name that only has children is a place, not a mailbox.
        listed.retain(|response| {
            !response.text.to_ascii_lowercase().contains("\\noselect") && !response.text.contains("\\NonExistent")
        });
        let names = names(&listed, "LIST ");
        (names.iter().map(|name| self.read_all(name)).collect(), self.subscribed())
    }

    fn send(&mut self, command: &str) {
        self.tag += 1;
        let line = format!("t{} {command}\r\n", self.tag);
        self.stream.write_all(line.as_bytes()).expect("IMAP listens");
    }

    fn finish(&mut self, command: &str) -> Vec<Response> {
        let (responses, done) = self.responses();
        assert!(done.starts_with("OK"), "{command}: {done}\n{responses:?}");
        responses
    }

    /// Untagged responses up to the tagged one, and what that says.
    fn responses(&mut self) -> (Vec<Response>, String) {
        let tag = format!("t{} ", self.tag);
        let mut responses = Vec::new();
        loop {
            let response = self.line();
            match response.text.strip_prefix(&tag) {
                Some(done) => return (responses, done.to_owned()),
                None => responses.push(response),
            }
        }
    }

    /// One response, with the literals in it; `* ` is cut off.
    fn line(&mut self) -> Response {
        let (mut text, mut literals) = (String::new(), Vec::new());
        loop {
            let mut bytes = Vec::new();
            let len = self.answers.read_until(b'\n', &mut bytes).expect("IMAP answers in time");
            assert!(len > 0, "IMAP has hung up");
            text.push_str(String::from_utf8_lossy(&bytes).trim_end());
            let size = text
                .strip_suffix('}')
                .and_then(|text| text.rsplit_once('{'))
                .and_then(|(_, digits)| digits.parse::<usize>().ok());
            let Some(size) = size else { break };
            let mut literal = vec![0; size];
            self.answers.read_exact(&mut literal).expect("a literal has the length it says");
            literals.push(literal);
        }
        Response { text: text.strip_prefix("* ").map_or(text.clone(), str::to_owned), literals }
    }
}

fn message(response: &Response) -> Message {
    let text = &response.text;
    let flags = text.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(flags, _)| flags);
    let date =
        text.split_once("INTERNALDATE \"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(date, _)| date);
    Message {
        uid: after(text, "UID ").expect("FETCH gives the UID").parse().expect("a number"),
        flags: flags.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect(),
        internal_date: date.to_owned(),
        body: response.literals.last().cloned().unwrap_or_default(),
    }
}

/// The digits that follow `mark`.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let rest = text.split_once(mark)?.1;
    Some(rest.split(|char: char| !char.is_ascii_digit()).next().unwrap_or(rest))
}

/// The mailbox names of LIST and LSUB responses: the last word, quoted or not, or a literal.
fn names(responses: &[Response], verb: &str) -> Vec<String> {
    let lists = responses.iter().filter(|response| response.text.starts_with(verb));
    let mut names = lists
        .map(|response| match response.literals.last() {
            Some(literal) => String::from_utf8_lossy(literal).into_owned(),
            None => {
                let (_, rest) = response.text.split_once(") ").expect("LIST gives attributes");
                let (_, name) = rest.split_once(' ').expect("LIST gives a delimiter and a name");
                name.strip_prefix('"')
                    .and_then(|name| name.strip_suffix('"'))
                    .unwrap_or(name)
                    .replace("\\\"", "\"")
                    .replace("\\\\", "\\")
            }
        })
        .collect::<Vec<_>>();
    names.sort();
    names
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
