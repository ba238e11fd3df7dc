//! Memory for what is large, in large pages where the system has them.
//!
//! Linux gives memory page by page as it is first touched, and a page of 4 KiB costs more than filling it. Where
//! transparent huge pages may be asked for, as they may by default, little more than filling is left. `benches/store.rs` shows it
//! in packing and unpacking.

use rustix::mm::{Advice, madvise};

/// The size of a large page on x86-64, in bytes.
const LARGE: usize = 2 << 20;

/// Gives so many zeros.
pub(crate) fn zeros(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    ask_for_large(&mut memory);
    memory
}

/// Gives an empty vector with room for so many bytes.
pub(crate) fn room(bytes: usize) -> Vec<u8> {
    let mut memory = Vec::with_capacity(bytes);
    ask_for_large(&mut memory);
    memory
}

/// Asks for large pages wherever a whole one fits; it is no fault if there are none.
#[allow(unsafe_code, reason = "advice on memory has no safe form")]
fn ask_for_large(memory: &mut Vec<u8>) {
    let (start, length) = (memory.as_mut_ptr(), memory.capacity());
    let before = start.align_offset(LARGE);
    let whole = length.saturating_sub(before) / LARGE * LARGE;
    if whole == 0 {
        return;
    }
    // SAFETY: the range lies in the allocation of a vector that nobody else uses, and this advice (MADV_HUGEPAGE of madvise(2))
    // changes what stands behind it and no byte of it.
    let _ = unsafe { madvise(start.wrapping_add(before).cast(), whole, Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_size_is_as_asked_for() {
        for bytes in [0, 1, LARGE - 1, LARGE, 3 * LARGE + 7] {
            let mut zeros = zeros(bytes);
            assert!(zeros.len() == bytes && zeros.iter().all(|byte| *byte == 0));
            zeros.fill(7);
            let mut room = room(bytes);
            assert!(room.is_empty() && room.capacity() >= bytes);
            let place = room.as_ptr();
            room.extend_from_slice(&zeros);
            assert!(room == zeros && room.as_ptr() == place, "{bytes} bytes fit without moving");
        }
    }
}
