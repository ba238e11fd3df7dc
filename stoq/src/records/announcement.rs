//! Announcements: which records are new, for everybody at once. They are best effort; what gets lost, a session finds.

use bytes::Bytes;

use super::item::RecordId;

/// Writes announcements of ids, as many as it takes.
pub fn encode(ids: &[RecordId]) -> Vec<Bytes> {
    let message = |ids: &[RecordId]| [VERSION].into_iter().chain(ids.iter().flat_map(|id| id.0)).collect();
    ids.chunks(ANNOUNCED_IDS_MAX).map(message).collect()
}

/// Reads an announcement.
///
/// # Errors
/// It is too long, of another version, or no list of ids.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordId>, AnnouncementError> {
    if bytes.len() > ANNOUNCEMENT_BYTES_MAX {
        return Err(AnnouncementError::TooLong { bytes: bytes.len() });
    }
    match bytes.split_first() {
        Some((&VERSION, ids)) => match ids.as_chunks::<32>() {
            (ids, []) => Ok(ids.iter().copied().map(RecordId).collect()),
            _ => Err(AnnouncementError::Malformed { bytes: bytes.len() }),
        },
        Some((&version, _)) => Err(AnnouncementError::Version { version }),
        None => Err(AnnouncementError::Malformed { bytes: 0 }),
    }
}

/// Bytes that announce nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// It is too long.
    #[error("an announcement has {bytes} bytes, at most {ANNOUNCEMENT_BYTES_MAX} are allowed")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It is not what this node reads.
    #[error("an announcement has version {version}, this node reads version {VERSION}")]
    Version {
        /// Its version.
        version: u8,
    },
    /// It is no list of ids.
    #[error("an announcement of {bytes} bytes is no list of ids")]
    Malformed {
        /// How long.
        bytes: usize,
    },
}

/// The largest announcement in bytes.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 4 << 10;
/// The most ids of one announcement.
pub const ANNOUNCED_IDS_MAX: usize = (ANNOUNCEMENT_BYTES_MAX - 1) / 32;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_as_written_and_bounded() {
        let ids: Vec<RecordId> = (0..300_u32).map(|number| RecordId::of(&number.to_le_bytes())).collect();
        let messages = encode(&ids);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() <= ANNOUNCEMENT_BYTES_MAX));
        let read: Vec<RecordId> =
            messages.iter().flat_map(|message| decode(message).expect("was written so")).collect();
        assert_eq!(read, ids);
        assert!(encode(&[]).is_empty());
    }

    #[test]
    fn what_is_no_announcement_is_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(decode(bytes), Err(expected));
        check(&[], AnnouncementError::Malformed { bytes: 0 });
        check(&[2; 33], AnnouncementError::Version { version: 2 });
        check(&[1; 34], AnnouncementError::Malformed { bytes: 34 });
        check(&[1; 4097], AnnouncementError::TooLong { bytes: 4097 });
    }
}
