//! Large content, as a session sees it: files are handed to the shipper, a thread of its own, which sends them beside the
//! batches, and come back as deliveries.

use crate::preparations::Preparations;
use crate::prepare::Content;
use crate::shipper::Shipper;
use crate::signatures::Signatures;
use crate::{Error, Result};
use fulmar_link::Sender;
use fulmar_model::{Record, RelPath};
use fulmar_tree::{Lender, Tree};
use fulmar_wire::{BASIS_PART_BYTES_MAX, Basis, CHUNK_COST_MIN};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Large files handed to the shipper at once: about as many of the smallest as credit covers, so that no round trip is waited
/// for. Their offers cost no credit; a replica without room for more of them reads no further until it has some.
pub(crate) const SHIPPING_MAX: usize = 12;
/// Numbers of streams that belong to one file, because no attempt shares one with the attempt before.
pub(crate) const STREAMS_EACH: u64 = 3;
/// Credit that is used at most, in bytes, whatever a replica grants: it bounds the parcels that wait.
const CREDIT_BYTES_MAX: u32 = 64 << 20;
/// Parts of an answer that wait at most.
const BASIS_PARTS_MAX: usize = 128;

/// What the shipper is told.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A file to be shipped.
    Ship(Ship),
    /// The replica has room for this many more bytes.
    Credit(u32),
    /// A part of what the replica says it has.
    Basis(Basis),
}

/// A file to be shipped.
#[derive(Debug)]
pub(crate) struct Ship {
    pub(crate) path: RelPath,
    /// The first of [`STREAMS_EACH`] numbers.
    pub(crate) stream: u64,
    /// Also when it does not hold still.
    pub(crate) torn: bool,
    /// What the catalog has of it: of what was shipped last, where it was shipped before.
    pub(crate) known: Option<Record>,
}

/// What became of a large file.
pub(crate) struct Delivery {
    pub(crate) path: RelPath,
    pub(crate) stream: u64,
    pub(crate) result: Delivered,
    /// Bytes of the frames it took.
    pub(crate) sent: u64,
}

/// A large file that has reached the replica's stage.
pub(crate) struct Arrived {
    pub(crate) path: RelPath,
    pub(crate) content: Box<Content>,
    pub(crate) stream: u64,
    /// Whether it changed while it was read.
    pub(crate) torn: bool,
}

/// Its result.
pub(crate) enum Delivered {
    /// It is in the replica's stage.
    Whole(Box<Content>),
    /// It is in the replica's stage, but changed while it was read.
    Torn(Box<Content>),
    /// It changed while it was read, and was given up.
    Moving,
    /// It is gone, or small by now, or no file: plan it again.
    Changed,
    /// The system says no.
    Unreadable(i32),
    /// What was read is not what was recorded, though nobody has written there since.
    Rotten,
}

/// The session's ways to the shipper and back.
pub(crate) struct Shipping {
    parcels: SyncSender<Parcel>,
    /// Parts of signatures that the shipper has not taken.
    parts: Arc<AtomicUsize>,
    /// At most [`SHIPPING_MAX`]; an error is the last.
    pub(crate) deliveries: UnboundedReceiver<Result<Delivery>>,
}

impl Shipping {
    /// Starts a shipper on a thread of its own, for a replica that grants `credit` bytes. Without `signatures` there are no
    /// patches, without `preparations` everything is prepared for this replica alone, without a `lender` nothing is lent.
    pub(crate) fn start(
        tree: Tree,
        (sender, credit): (Sender, u32),
        signatures: Option<Signatures>,
        preparations: Option<Preparations>,
        lender: Option<Lender>,
    ) -> Result<Self> {
        let full = credit.min(CREDIT_BYTES_MAX);
        let (parcels, inbox) = sync_channel((full / CHUNK_COST_MIN) as usize + SHIPPING_MAX + BASIS_PARTS_MAX);
        let (deliveries_in, deliveries) = unbounded_channel();
        let parts = Arc::<AtomicUsize>::default();
        let shared = (signatures, preparations, lender);
        let shipper = Shipper::new(tree, (inbox, Arc::clone(&parts)), sender, shared, full, deliveries_in);
        let body = move || shipper.run();
        std::thread::Builder::new().name("fulmar-ship".to_owned()).spawn(body).map_err(|_| Error::Gone)?;
        Ok(Self { parcels, parts, deliveries })
    }

    /// Does not wait: there is room for every file that may be handed over, and for the credit of every chunk.
    pub(crate) fn tell(&self, parcel: Parcel) -> Result<()> {
        if let Parcel::Basis(part) = &parcel {
            let waiting = self.parts.fetch_add(1, Ordering::Relaxed);
            if waiting >= BASIS_PARTS_MAX || part.signature.len() > BASIS_PART_BYTES_MAX {
                return Err(Error::Protocol("more of a signature than was agreed on"));
            }
        }
        match self.parcels.try_send(parcel) {
            Err(TrySendError::Full(_)) => Err(UNUSED),
            // It has ended: why, comes in the place of a delivery.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

/// Of a replica that gives back more than it was sent.
pub(crate) const UNUSED: Error = Error::Protocol("more credit than was used");
