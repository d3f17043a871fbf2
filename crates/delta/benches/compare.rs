//! Speed and size of signatures and patches beside `fast_rsync`, over incompressible content in memory.
//!
//! ```sh
//! cargo bench -p fulmar-delta                # a basis of 256 MiB
//! cargo bench -p fulmar-delta -- 1024        # of so many MiB; five times as much memory is needed
//! ```
//!
//! One thread. MB/s are of the content that is read, by processor time (so that a busy machine may run it), the best of five
//! runs; they differ between machines, the ratios less. "sent" is all bytes of the patch. Both sides have the block length that `BlockLen::for_file` gives the basis.

use fast_rsync::{SignatureOptions, diff};
use fulmar_delta::{BlockLen, Matcher, PatchWriter, Signature, Signer};
use std::hint::black_box;

const MIB: usize = 1024 * 1024;

/// The slices in which content arrives.
const SLICE: usize = MIB;

fn main() {
    let mib = std::env::args().skip(1).find_map(|word| word.parse::<usize>().ok()).unwrap_or(256);
    let basis = noise(mib * MIB, 1);
    let block = BlockLen::for_file(basis.len() as u64);
    println!("basis of {mib} MiB in blocks of {} KiB\n", block.bytes() / 1024);
    println!("{:<34}{:>10}{:>14}{:>8}{:>14}{:>14}", "", "MB/s", "fast_rsync", "ratio", "sent", "fast_rsync");

    let ours = fastest(basis.len(), || sign(&basis, block));
    let options = SignatureOptions { block_size: block.bytes() as u32, crypto_hash_size: 16 };
    let theirs = fastest(basis.len(), || fast_rsync::Signature::calculate(&basis, options));
    let signatures = (sign(&basis, block), fast_rsync::Signature::calculate(&basis, options));
    let sizes = (signatures.0.to_bytes().len(), signatures.1.serialized().len());
    row("signature", ours, theirs, sizes.0, sizes.1);

    let index = signatures.1.index();
    for (name, make) in contents(&basis, block) {
        let content = make();
        let mut sent = (0, 0);
        let ours = fastest(content.len(), || sent.0 = send(&signatures.0, &content));
        let mut patch = Vec::with_capacity(content.len() + content.len() / 64 + MIB);
        let theirs = fastest(content.len(), || {
            patch.clear();
            diff(&index, &content, &mut patch).expect("a vector takes everything");
            sent.1 = patch.len();
        });
        row(name, ours, theirs, sent.0, sent.1);
    }
}

type Make<'a> = Box<dyn Fn() -> Vec<u8> + 'a>;

/// What the basis may have become.
fn contents(basis: &[u8], block: BlockLen) -> [(&'static str, Make<'_>); 8] {
    let patience = 8 * MIB;
    [
        ("the same", Box::new(move || basis.to_vec())),
        ("10 MiB appended", Box::new(move || [basis, &noise(10 * MIB, 2)].concat())),
        ("100 overwrites of 4 KiB", Box::new(move || overwritten(basis, 100))),
        ("every 8th block overwritten", Box::new(move || overwritten(basis, basis.len() / 8 / block.bytes() as usize))),
        ("10 bytes inserted at the front", Box::new(move || [&noise(10, 3), basis].concat())),
        ("777 bytes inserted at 10 places", Box::new(move || inserted(basis))),
        ("nothing in common", Box::new(move || noise(basis.len(), 4))),
        ("nothing in common, first 8 MiB", Box::new(move || noise(patience, 4))),
    ]
}

fn overwritten(basis: &[u8], times: usize) -> Vec<u8> {
    let mut content = basis.to_vec();
    let places = noise(8 * times, 5);
    for (i, place) in places.as_chunks::<8>().0.iter().enumerate() {
        let at = u64::from_le_bytes(*place) as usize % (content.len() / 4096) * 4096;
        content[at..at + 4096].copy_from_slice(&noise(4096, 100 + i as u64));
    }
    content
}

fn inserted(basis: &[u8]) -> Vec<u8> {
    let pieces = basis.chunks(basis.len().div_ceil(10));
    pieces.enumerate().flat_map(|(i, piece)| [noise(777, 200 + i as u64), piece.to_vec()]).collect::<Vec<_>>().concat()
}

fn sign(basis: &[u8], block: BlockLen) -> Signature {
    let mut signer = Signer::new(block);
    basis.chunks(SLICE).for_each(|slice| signer.update(slice));
    signer.finish()
}

/// Makes the patch, drains it as a sender would, and gives its length. Building the index counts.
fn send(signature: &Signature, content: &[u8]) -> usize {
    let (mut matcher, mut writer) = (Matcher::new(signature), PatchWriter::new());
    let (mut patch, mut sent) = (Vec::new(), 0);
    for slice in content.chunks(SLICE) {
        matcher.update(slice, &mut |instruction| writer.put(instruction, &mut patch));
        sent += black_box(&patch).len();
        patch.clear();
    }
    matcher.finish(&mut |instruction| writer.put(instruction, &mut patch));
    writer.finish(&mut patch);
    sent + black_box(patch).len()
}

/// MB/s of the best of five runs.
fn fastest<T>(bytes: usize, mut run: impl FnMut() -> T) -> f64 {
    let mut once = || {
        let began = processor_ns();
        black_box(run());
        processor_ns() - began
    };
    let ns = (0..5).map(|_| once()).min().unwrap_or(u64::MAX);
    bytes as f64 * 1e3 / ns as f64
}

/// Nanoseconds that this thread has run for: the first number of its schedstat.
fn processor_ns() -> u64 {
    // The kernel adds up at every switch to another thread.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux with scheduler statistics");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

fn row(name: &str, ours: f64, theirs: f64, sent: usize, theirs_sent: usize) {
    println!("{name:<34}{ours:>10.0}{theirs:>14.0}{:>8.1}{sent:>14}{theirs_sent:>14}", ours / theirs);
}

/// Incompressible bytes, the same for the same seed (xorshift64*, Vigna 2016).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = vec![0; len.next_multiple_of(8)];
    for word in bytes.as_chunks_mut::<8>().0 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        *word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
    }
    bytes.truncate(len);
    bytes
}
