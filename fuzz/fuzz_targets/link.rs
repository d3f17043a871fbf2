//! Whatever stands behind a preface ends in an error, frame by frame, plain or compressed. The first byte chooses.

#![no_main]

use fulmar_wire::{COMPRESSION, Preface};
use libfuzzer_sys::fuzz_target;

/// A bomb would keep the fuzzer from the next input.
const FRAMES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, behind)) = bytes.split_first() else { return };
    let features = if choice % 2 == 0 { COMPRESSION } else { 0 };
    let preface = Preface { features, ..Preface::OURS }.encode();
    let from = std::io::Cursor::new([&preface, behind].concat());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut link = fulmar_link::over(from, tokio::io::sink(), None).await.expect("a preface came");
        for _ in 0..FRAMES_MAX {
            if link.receiver.receive().await.is_err() {
                break;
            }
        }
    });
});
