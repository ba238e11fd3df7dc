//! Documents of a remote registry: what is read is written and read again as the same.

#![no_main]

use catalog::remote::{FeedDocument, PackageDocument};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let name = "acme/vec3".parse().expect("a name");
    if let Ok(package) = PackageDocument::read(data, &name) {
        let bytes = serde_json::to_vec(&package).expect("what was read is written");
        assert_eq!(PackageDocument::read(&bytes, &name), Ok(package));
    }
    if let Ok(feed) = FeedDocument::read(data, "acme.pub.trustchain") {
        let bytes = serde_json::to_vec(&feed).expect("what was read is written");
        assert_eq!(FeedDocument::read(&bytes, "acme.pub.trustchain"), Ok(feed));
    }
});
