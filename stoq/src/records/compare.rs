//! Items as the reconciliation reads them: by index, in order, without a copy.

use negentropy::{Bound, Error, Id, Negentropy, NegentropyStorageBase};

use super::item::{Item, Items};
use super::limits::FRAME_BYTES_MAX;

/// A comparison over items as they were when it began.
pub(super) type Comparison = Negentropy<'static, View>;

/// Begins a comparison.
pub(super) fn over(items: Items) -> Comparison {
    Negentropy::owned(View(items), MESSAGE_BYTES_MAX).expect("the bound of messages is above the least one")
}

#[derive(Debug)]
pub(super) struct View(Items);

impl NegentropyStorageBase for View {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.0.len())
    }

    fn get_item(&self, index: usize) -> Result<Option<negentropy::Item>, Error> {
        Ok(self.0.as_slice().get(index).map(converted))
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(negentropy::Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let items = self.0.as_slice().get(begin..end).ok_or(Error::BadRange)?;
        for (index, item) in items.iter().enumerate() {
            if !each(converted(item), begin + index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        let below = |item: &Item| (item.time, &item.id.0) < (bound.item.timestamp, bound.item.id.as_bytes());
        first + self.0.as_slice()[first..last].partition_point(below)
    }
}

fn converted(item: &Item) -> negentropy::Item {
    negentropy::Item::with_timestamp_and_id(item.time, Id::from_byte_array(item.id.0))
}

/// What of a frame a message may fill: the rest names it.
const MESSAGE_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 - 64;
