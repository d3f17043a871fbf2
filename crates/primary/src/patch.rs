//! A patch in the making, and what it is made against.

use fulmar_delta::{Instruction, Matched, Matcher, PatchWriter, Signature, Signer};
use fulmar_model::Hash;
use fulmar_wire::Basis;

/// What a replica says it has.
pub(crate) struct Told {
    stream: u64,
    hash: Option<Hash>,
    signature: Vec<u8>,
    /// Whether all of it was heard.
    whole: bool,
}

impl Told {
    /// Adds a part to what was heard before. Parts of one answer come in order; with another stream a new answer begins.
    /// `room`: bytes its signature may have.
    pub(crate) fn hear(before: Option<Self>, part: Basis, room: usize) -> Self {
        let Basis { stream, hash, signature, more } = part;
        let mut told = before.filter(|told| told.stream == stream && !told.whole).unwrap_or(Self {
            stream,
            hash,
            signature: Vec::new(),
            whole: false,
        });
        if told.signature.len() + signature.len() > room {
            // Of a file too large to be matched, or one of many: as if there were nothing.
            told.hash = None;
        }
        match told.hash {
            Some(_) => told.signature.extend_from_slice(&signature),
            None => told.signature = Vec::new(),
        }
        told.whole = !more;
        told
    }

    /// Whether this is all that is said of the stream.
    pub(crate) fn answers(&self, stream: u64) -> bool {
        self.whole && self.stream == stream
    }

    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.signature.len()
    }

    /// A signature that makes no sense is none.
    pub(crate) fn signed(self) -> Option<(Hash, Signature)> {
        Some((self.hash?, Signature::from_bytes(&self.signature).ok()?))
    }
}

/// A patch in the making.
pub(crate) struct Patch<'a> {
    matcher: Option<Matcher<'a>>,
    writer: PatchWriter,
    /// Not sent yet.
    pub(crate) out: Vec<u8>,
    /// Bytes sent.
    pub(crate) sent: u64,
    /// Bytes of the content that were looked at since something was sent.
    looked_at: usize,
}

/// After so much content without a chunk the replica is given what there is, so that it copies while the rest is looked at.
const LOOK_BYTES: usize = 16 << 20;

impl<'a> Patch<'a> {
    /// `signer`: signs the content.
    pub(crate) fn new(signature: &'a Signature, signer: Signer) -> Self {
        Self {
            matcher: Some(Matcher::signing(signature, signer)),
            writer: PatchWriter::new(),
            out: Vec::new(),
            sent: 0,
            looked_at: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.looked_at = self.looked_at.saturating_add(bytes.len());
        if let Some(matcher) = &mut self.matcher {
            matcher.update(bytes, &mut |instruction| self.writer.put(instruction, &mut self.out));
        }
    }

    /// Whether what there is goes to the replica, however little it is.
    pub(crate) fn is_due(&self) -> bool {
        self.looked_at >= LOOK_BYTES && !self.out.is_empty()
    }

    /// So many more bytes were sent.
    pub(crate) fn note_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.looked_at = 0;
    }

    /// Ends it, with the hash of the result behind it. Gives the signature of the result.
    pub(crate) fn finish(&mut self, hash: Hash) -> Option<Signature> {
        let emit = &mut |instruction: Instruction<'_>| self.writer.put(instruction, &mut self.out);
        let matched = self.matcher.take().map(|matcher| matcher.finish(emit));
        std::mem::take(&mut self.writer).finish(&mut self.out);
        self.out.extend_from_slice(&hash.0);
        matched.and_then(|Matched { signature, .. }| signature)
    }
}
