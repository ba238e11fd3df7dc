//! The services of a node by name, and the first frame that asks for one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Service;

/// The longest name of a service in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The services of a node. Clones are the same; services may be added while others are served.
#[derive(Clone, Default)]
pub struct Services(Arc<RwLock<HashMap<&'static str, Arc<dyn Service>>>>);

/// A service that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its name is empty or too long.
    #[error("the name of a service has 1 to 64 bytes, that of `{name}` has `{}`", name.len())]
    Name {
        /// The name.
        name: &'static str,
    },
    /// There is one of that name.
    #[error("there already is a service `{name}`")]
    Twice {
        /// The name.
        name: &'static str,
    },
}

/// The content of the first frame.
#[derive(Serialize, Deserialize)]
struct First {
    service: String,
    #[serde(with = "serde_bytes")]
    request: Vec<u8>,
}

impl Services {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service.
    ///
    /// # Errors
    /// Its name is empty, too long, or taken.
    pub fn register(&self, service: Arc<dyn Service>) -> Result<(), RegisterError> {
        let name = service.name();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(RegisterError::Name { name });
        }
        let mut services = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if services.contains_key(name) {
            return Err(RegisterError::Twice { name });
        }
        services.insert(name, service);
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Service>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.read().unwrap_or_else(PoisonError::into_inner).keys()).finish()
    }
}

/// Writes the content of the first frame.
pub(crate) fn ask(service: &str, request: &[u8]) -> Vec<u8> {
    let first = First { service: service.to_owned(), request: request.to_vec() };
    rmp_serde::to_vec_named(&first).expect("a text and bytes can be written")
}

/// Reads the content of the first frame.
pub(crate) fn asked(content: &[u8]) -> Result<(String, Bytes), rmp_serde::decode::Error> {
    let First { service, request } = rmp_serde::from_slice(content)?;
    Ok((service, request.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Pending;
    use crate::service::{Caller, ServiceError, Stream};

    struct Named(&'static str);

    impl Service for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn serve(&self, _: Caller, _: Bytes, _: Stream) -> Pending<'static, Result<(), ServiceError>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[test]
    fn a_name_is_short_and_comes_once() {
        const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123";
        let services = Services::new();
        assert_eq!(services.register(Arc::new(Named(LONG))), Ok(()));
        assert_eq!(services.register(Arc::new(Named(LONG))), Err(RegisterError::Twice { name: LONG }));
        for name in ["", "01234567890123456789012345678901234567890123456789012345678901234"] {
            assert_eq!(services.register(Arc::new(Named(name))), Err(RegisterError::Name { name }));
        }
        assert!(services.find(LONG).is_some() && services.find("other").is_none());
    }

    proptest::proptest! {
        #[test]
        fn what_is_asked_is_what_is_read(name in ".{0,80}", request in proptest::collection::vec(0_u8.., 0..300)) {
            let read = asked(&ask(&name, &request)).expect("reads");
            proptest::prop_assert_eq!(read, (name, Bytes::from(request)));
        }

        #[test]
        fn what_is_read_of_changed_bytes_is_of_them(
            name in ".{0,8}",
            request in proptest::collection::vec(0_u8.., 0..20),
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0_u8..), 1..4),
        ) {
            let mut content = ask(&name, &request);
            for (at, bits) in changes {
                let at = at.index(content.len());
                content[at] ^= bits;
            }
            // Every byte that comes out of it is one that went in, and there is something around them.
            if let Ok((name, request)) = asked(&content) {
                proptest::prop_assert!(name.len() + request.len() < content.len(), "{name:?} {request:?}");
                let holds = |part: &[u8]| part.is_empty() || content.windows(part.len()).any(|at| at == part);
                proptest::prop_assert!(holds(name.as_bytes()) && holds(&request), "{name:?} {request:?}");
            }
        }
    }

    #[test]
    fn the_first_frame_has_one_form() {
        let content = ask("blobs/1", b"\x00\xff");
        assert_eq!(content, b"\x82\xa7service\xa7blobs/1\xa7request\xc4\x02\x00\xff");
        assert_eq!(asked(&content).expect("reads"), ("blobs/1".to_owned(), Bytes::from_static(b"\x00\xff")));
        for length in 0..content.len() {
            assert!(asked(&content[..length]).is_err(), "{length} bytes");
        }
    }
}
