//! Offers as they travel.

use legwork_protocol::channel::Offer;
use legwork_protocol::envelope::Envelope;
use legwork_store::queue::{Offer as Stored, OfferedInput};

/// An offer as a runner gets it. The input is in clear inside TLS.
pub(crate) fn on_the_wire(stored: Stored) -> Offer {
    let Stored { attempt, spec, input, .. } = stored;
    match input {
        OfferedInput::Inline(json) => Offer { attempt, spec, input: Some(Envelope::clear(json)), input_chunks: 1 },
        OfferedInput::Chunked { chunks, .. } => Offer { attempt, spec, input: None, input_chunks: chunks },
    }
}
