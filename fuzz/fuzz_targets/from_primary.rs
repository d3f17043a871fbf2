//! Whatever decodes as a message of a primary encodes again and means the same.

#![no_main]

use fulmar_wire::FromPrimary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // What decodes may be too long to encode: a left out field comes back as null.
    if let Ok(message) = FromPrimary::decode(body.to_vec())
        && let Ok(frame) = message.encode()
    {
        assert_eq!(FromPrimary::decode(frame.body()).expect("own bytes decode"), message);
    }
});
