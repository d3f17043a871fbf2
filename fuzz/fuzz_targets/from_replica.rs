//! Whatever decodes as a message of a replica encodes again and means the same.

#![no_main]

use fulmar_wire::FromReplica;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // What decodes may be too long to encode: a left out field comes back as null.
    if let Ok(message) = FromReplica::decode(body.to_vec())
        && let Ok(frame) = message.encode()
    {
        assert_eq!(FromReplica::decode(frame.body()).expect("own bytes decode"), message);
    }
});
