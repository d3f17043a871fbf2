//! Every message comes back from its bytes.

use crate::any;
use fulmar_model::{PATH_BYTES_MAX, RelPath, Xattrs};
use fulmar_wire::{Content, Operation, Segment, XATTR_BYTES_MAX};
use fulmar_wire::{FRAME_BYTES_MAX, Frame, FrameError, FromPrimary, FromReplica, INLINE_BYTES_MAX, LENGTH_BYTES};
use proptest::prelude::*;

/// The body of a frame, after checking the length in front of it.
fn body(frame: &Frame) -> &[u8] {
    let (prefix, body) = frame.as_bytes().split_first_chunk::<LENGTH_BYTES>().expect("a length");
    assert_eq!(Frame::length(*prefix), Ok(body.len()));
    assert_eq!(body, frame.body());
    assert_eq!(&Frame::received(*prefix, body), frame);
    body
}

proptest! {
    #[test]
    fn what_a_primary_says_comes_back(message in any::from_primary()) {
        let frame = message.encode().expect("short enough");
        prop_assert_eq!(FromPrimary::decode(body(&frame).to_vec()).expect("decodes"), message);
    }

    #[test]
    fn what_a_replica_says_comes_back(message in any::from_replica()) {
        let frame = message.encode().expect("short enough");
        prop_assert_eq!(FromReplica::decode(body(&frame).to_vec()).expect("decodes"), message);
    }

    #[test]
    fn borrowed_operations_and_chunks_encode_as_owned_ones_do(message in any::from_primary()) {
        let borrowed = match &message {
            FromPrimary::Operate(operation) => FromPrimary::encode_operation(operation),
            FromPrimary::Chunk { stream, offset, bytes } => FromPrimary::encode_chunk(*stream, *offset, bytes),
            _ => message.encode(),
        };
        prop_assert_eq!(borrowed, message.encode());
    }
}

#[test]
fn frames_are_neither_empty_nor_over_the_limit() {
    let max = u32::try_from(FRAME_BYTES_MAX).expect("fits in four bytes");
    assert_eq!(Frame::length([0; 4]), Err(FrameError(0)));
    assert_eq!(Frame::length(1u32.to_be_bytes()), Ok(1));
    assert_eq!(Frame::length(max.to_be_bytes()), Ok(FRAME_BYTES_MAX));
    assert_eq!(Frame::length((max + 1).to_be_bytes()), Err(FrameError(u64::from(max) + 1)));
    assert_eq!(Frame::length([0xff; 4]), Err(FrameError(u64::from(u32::MAX))));
}

#[test]
fn the_longest_chunk_fits_exactly_and_one_byte_more_is_refused() {
    const HEADER_BYTES: usize = 1 + 8 + 8;
    let bytes = vec![7; FRAME_BYTES_MAX - HEADER_BYTES + 1];
    let frame = FromPrimary::encode_chunk(1, 2, &bytes[1..]).expect("exactly the limit");
    assert_eq!(body(&frame).len(), FRAME_BYTES_MAX);
    assert!(matches!(FromPrimary::decode(body(&frame).to_vec()), Ok(FromPrimary::Chunk { stream: 1, offset: 2, .. })));
    assert_eq!(FromPrimary::encode_chunk(1, 2, &bytes), Err(FrameError(FRAME_BYTES_MAX as u64 + 1)));
}

#[test]
fn the_largest_operation_that_the_limits_allow_fits_in_a_frame() {
    let long = vec![b'n'; 255];
    let mut deep = Vec::new();
    while deep.len() + 1 + long.len() <= PATH_BYTES_MAX {
        deep.extend_from_slice(&long);
        deep.push(b'/');
    }
    deep.pop();
    // The shortest segments cost the most: one byte of content each behind its offset.
    let segments = (0..4096).map(|at| Segment { offset: u64::MAX - at, bytes: vec![1; 64].into() }).collect::<Vec<_>>();
    assert_eq!(segments.iter().map(|s| s.bytes.len() as u64).sum::<u64>(), INLINE_BYTES_MAX);
    let attributes = Xattrs::new(vec![(Box::from(&b"user.a"[..]), vec![1; XATTR_BYTES_MAX - 6].into())]);
    let operation = Operation::Put {
        path: RelPath::parse(&deep).expect("a valid path"),
        entry: crate::example::file(),
        xattrs: attributes,
        content: Content::Inline(segments),
    };
    FromPrimary::encode_operation(&operation).expect("fits in a frame");
}
